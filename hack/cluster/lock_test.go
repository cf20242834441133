// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

// A cluster's machines hold copies of the lock: another up, with another cache, changes
// nothing and says who they are.
func TestUpRefusesWhileAnotherClusterLives(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("FUNNEL_CACHE", cache)
	left := journal(filepath.Join(cache, "cluster-test", journalName))
	if err := os.Mkdir(filepath.Dir(string(left)), 0o755); err != nil {
		t.Fatal(err)
	}
	mustWriteFile(t, string(left), "")

	// Not the computer's own lock, which a real cluster may hold.
	testnet.NewNamespace(t, "lock").Do(func() {
		lock, err := lockMachine()
		if err != nil {
			t.Error(err)
			return
		}
		machine := exec.Command("sleep", "1000")
		machine.ExtraFiles = []*os.File{lock}
		err = machine.Start()
		lock.Close() // its owner ends, the machine lives
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _, _ = machine.Process.Kill(), machine.Wait() }()

		var stderr bytes.Buffer
		if status := run(t.Context(), []string{"up", "-name", "test"}, &stderr, &stderr); status != 1 {
			t.Errorf("status %d", status)
		}
		if want := fmt.Sprintf("process %d (sleep 1000)", machine.Process.Pid); !bytes.Contains(stderr.Bytes(), []byte(want)) {
			t.Errorf("said %q, want %q in it", &stderr, want)
		}
		if _, err := os.Stat(string(left)); err != nil {
			t.Error("the journal is gone: ", err)
		}
		// down asks for no lock.
		if status := run(t.Context(), []string{"down", "-name", "test"}, &stderr, &stderr); status != 0 {
			t.Errorf("down: %s", &stderr)
		}
		if _, err := os.Stat(string(left)); err == nil {
			t.Error("down left the journal")
		}

		_, _ = machine.Process.Kill(), machine.Wait()
		again, err := lockMachine()
		if err != nil {
			t.Error("the machine has ended: ", err)
			return
		}
		again.Close()
	})
}
