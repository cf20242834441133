// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestASignalEndsReading: who forgot the pipe gets out.
func TestASignalEndsReading(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, binary(t), "check", "-")
		stdin, err := c.StdinPipe()
		must(t, err)
		must(t, c.Start())
		_, err = stdin.Write(make([]byte, 1<<20)) // more than a pipe holds: it reads
		must(t, err)
		must(t, c.Process.Signal(signal))
		_ = c.Wait()
		if got := c.ProcessState.Sys().(syscall.WaitStatus); !got.Signaled() || got.Signal() != signal {
			t.Errorf("%v: %v", signal, c.ProcessState)
		}
	}
}
