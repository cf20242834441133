// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A machine writes down the process that a program is, and does not start it again while
// there is a file that says that it is away. Both are among the cluster's files.
func pidFile(dir, machine, program string) string {
	return filepath.Join(dir, machine+"-"+program+".pid")
}

func awayFile(dir, machine, program string) string {
	return filepath.Join(dir, machine+"-"+program+".away")
}

func isAway(dir, machine, program string) bool {
	_, err := os.Stat(awayFile(dir, machine, program))
	return !errors.Is(err, fs.ErrNotExist)
}

// outage kills a program of a machine and returns after that time, when it is being
// started again.
func outage(ctx context.Context, dir, machine, program string, away time.Duration) error {
	s, err := readState(dir)
	if err != nil {
		return err
	}
	pid, err := os.ReadFile(pidFile(dir, machine, program))
	if err != nil {
		return fmt.Errorf("%s runs no %s: %w", machine, program, err)
	}
	file := awayFile(dir, machine, program)
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		return err
	}
	defer os.Remove(file)
	// The shell's own kill: the command is in a package that may not be installed.
	if err := s.do(ctx, machine, "sh", "-c", "kill -KILL "+string(pid)); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(away):
		return nil
	}
}

// reboot kills all processes of a node at once, its pods' among them. What the kernel
// holds for them stays until the kubelet and the runtime find that they are gone: a node
// that starts anew has nothing of that, which is easier.
func reboot(ctx context.Context, dir, node string) error {
	s, err := readState(dir)
	if err != nil {
		return err
	}
	// From inside its namespace a machine's first process can't be killed, and the shell
	// is not asked to end itself.
	return s.do(ctx, node, "sh", "-c", "kill -KILL -1")
}

// signalContainer sends a signal to a container's first process: SIGKILL ends it as a kernel
// short of memory does, SIGSTOP lets it hang.
func signalContainer(ctx context.Context, dir, node, container, signal string) error {
	s, err := readState(dir)
	if err != nil {
		return err
	}
	id := strings.TrimPrefix(container, "containerd://")
	return s.do(ctx, node, filepath.Join(s.Packages, "usr/bin/ctr"), "--namespace=k8s.io", "tasks", "kill", "--signal="+signal, id)
}

// do runs a command in a machine.
func (s *state) do(ctx context.Context, machine string, command ...string) error {
	line, err := s.inside(machine, command...)
	if err != nil {
		return err
	}
	output, err := exec.CommandContext(ctx, line[0], line[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %s: %w: %s", machine, strings.Join(command, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
