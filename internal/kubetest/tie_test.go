// SPDX-License-Identifier: Apache-2.0

package kubetest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const holdVariable = "KUBETEST_HOLD"

// The test binary starts itself, kills that and looks for what it left behind.
func TestServerEndsWithAKilledTest(t *testing.T) {
	if os.Getenv(holdVariable) != "" {
		hold(t)
	}
	t.Parallel()
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("without setpriv (util-linux) nothing ties the server to the test")
	}
	test := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	test.Env = append(os.Environ(), holdVariable+"=1")
	out, err := test.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := test.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	dir, started := strings.CutPrefix(strings.TrimSpace(line), "started in ")
	if started && len(processesOf(dir)) != 2 {
		t.Errorf("processes before: %q", processesOf(dir))
	}
	_ = test.Process.Kill()
	_ = test.Wait()
	if !started {
		t.Fatalf("got %q", line)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for deadline := time.Now().Add(20 * time.Second); len(processesOf(dir)) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %q", processesOf(dir))
		}
	}
}

func TestTiedProgramMayHaveAnyPath(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "Jane's home; $x")
	for _, dir := range []string{folder, folder + "/tied"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(folder, "say")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nprintf '%s|' \"$@\"\n"), 0o755); err != nil { //nolint:gosec // is run
		t.Fatal(err)
	}
	tied, err := Tied(folder+"/tied", program)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tied, "a b", "c").CombinedOutput(); err != nil || string(out) != "a b|c|" {
		t.Errorf("said %q, %v", out, err)
	}
}

// hold starts a server and waits to be killed.
func hold(t *testing.T) {
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("started in", s.dir)
	time.Sleep(time.Minute)
	_ = s.Stop()
}

// processesOf are the command lines that name the directory.
func processesOf(dir string) []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(dir)) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}
