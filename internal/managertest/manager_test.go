// SPDX-License-Identifier: Apache-2.0

package managertest

import (
	"os/exec"
	"syscall"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/kubetest"
)

// A server that is tied to the test, too, outlives any replica, whichever threads
// started them.
func TestReplicasEndAlone(t *testing.T) {
	for range 20 {
		servers := []*exec.Cmd{sleeping(t), sleeping(t)}
		replica := &Manager{log: &kubetest.Log{}, ended: make(chan struct{})}
		if err := replica.start([]string{"sleep", "60"}, nil); err != nil {
			t.Fatal(err)
		}
		replica.Kill()
		for _, server := range servers {
			if err := server.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			_ = server.Wait()
			if got := server.ProcessState.Sys().(syscall.WaitStatus).Signal(); got != syscall.SIGTERM {
				t.Fatalf("the server ended by %v, not by the test", got)
			}
		}
	}
}

func sleeping(t *testing.T) *exec.Cmd {
	t.Helper()
	command := exec.Command("sleep", "60")
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	return command
}
