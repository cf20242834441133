// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// inNamespace runs f on a thread of its own inside a named network namespace.
// Sockets that f opens stay in that namespace wherever they are used later.
func inNamespace(name string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		done <- func() error {
			file, err := os.Open("/run/netns/" + name)
			if err != nil {
				return err
			}
			defer file.Close()
			if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter %s: %w", name, err)
			}
			return f()
		}()
	}()
	return <-done
}

// pinned runs f on a thread of its own that stays on one CPU: the last one, all
// pinned threads on the same. On two CPUs a packet's way depends on who is where,
// which shows as reordering and as spread.
func pinned(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		pin()
		f()
	}()
	<-done
}

// pin keeps the calling thread, which must be locked, on the last CPU and ahead of
// what else runs there, and the Go runtime's preemption signal away from it,
// which interrupts system calls.
func pin() {
	var cpus unix.CPUSet
	cpus.Set(runtime.NumCPU() - 1)
	if err := unix.SchedSetaffinity(0, &cpus); err != nil {
		panic(err)
	}
	goAhead()
	var urgent unix.Sigset_t
	urgent.Val[0] = 1 << (unix.SIGURG - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &urgent, nil); err != nil {
		panic(err)
	}
}

// goAhead lets the calling thread, which must be locked, and what it starts run
// before all others on its CPU. A nice value is worth less: with autogroups
// (CONFIG_SCHED_AUTOGROUP) it counts among the threads of one session only. It has
// to do where the control group has no time for real-time threads.
func goAhead() {
	err := unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1,
	}, 0)
	if err == nil {
		return
	}
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -20); err != nil {
		panic(err)
	}
}

// command runs a program; what it printed is part of the error only.
func command(name string, args ...string) error {
	if output, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}

// script gives a program its standard input.
func script(text, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(text)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(output)))
	}
	return nil
}
