// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// asMain is the variable that makes the test's own binary the command.
const asMain = "KUBECTL_FUNNEL_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

// TestASignalEndsReading: who forgot the pipe gets out.
func TestASignalEndsReading(t *testing.T) {
	for _, line := range []string{"lint -f -", "render -f -", "inject --image a -f -"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, os.Args[0], strings.Fields(line)...)
		c.Env = append(os.Environ(), asMain+"=1")
		stdin, err := c.StdinPipe()
		if err == nil {
			err = c.Start()
		}
		if err == nil {
			_, err = stdin.Write(make([]byte, 1<<20)) // more than a pipe holds: it reads
		}
		if err == nil {
			err = c.Process.Signal(os.Interrupt)
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		if got := c.ProcessState.String(); got != "signal: interrupt" {
			t.Errorf("%s: %s", line, got)
		}
	}
}
