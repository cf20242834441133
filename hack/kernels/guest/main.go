// SPDX-License-Identifier: Apache-2.0

// Command guest is the /init of the virtual machines that make test-kernels
// starts: it loads the modules of its plan, runs the test binaries one after the
// other, reports each on the second serial port and powers the machine off.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/hack/kernels/plan"
)

// main never returns: a guest that came to an end without Done has failed, and
// so has one whose init panics, which is a kernel panic.
func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
	}
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	if err := mountAll(); err != nil {
		return err
	}
	var todo plan.Plan
	text, err := os.ReadFile(plan.Path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &todo); err != nil {
		return err
	}
	report, err := openReport(todo.Report)
	if err != nil {
		return err
	}
	if err := runPlan(report, todo); err != nil {
		return plan.Write(report, plan.Event{Kind: plan.Fault, Error: err.Error()})
	}
	return plan.Write(report, plan.Event{Kind: plan.Done})
}

// mountAll makes what a test finds on an ordinary machine.
func mountAll() error {
	for _, m := range []struct{ kind, target string }{
		{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"},
		{"bpf", "/sys/fs/bpf"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.target, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return os.Symlink("/run", "/var/run")
}

// openReport opens a serial port and turns its line editing off, so that bytes
// arrive as they were written.
func openReport(path string) (*os.File, error) {
	port, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	attr, err := unix.IoctlGetTermios(int(port.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	attr.Oflag &^= unix.OPOST
	attr.Lflag &^= unix.ECHO | unix.ICANON
	return port, unix.IoctlSetTermios(int(port.Fd()), unix.TCSETS, attr)
}

func runPlan(report *os.File, todo plan.Plan) error {
	for _, module := range todo.Modules {
		if err := load(module); err != nil {
			return fmt.Errorf("load %s: %w", filepath.Base(module), err)
		}
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	for _, test := range todo.Tests {
		if err := runTest(report, test); err != nil {
			return err
		}
	}
	return nil
}

func load(module string) error {
	image, err := os.ReadFile(module)
	if err != nil {
		return err
	}
	err = unix.InitModule(image, "")
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}

// runTest fails only when the report can't be written; what happened to the
// test is in the report.
func runTest(report *os.File, test plan.Test) error {
	if err := plan.Write(report, plan.Event{Kind: plan.Start, Name: test.Name}); err != nil {
		return err
	}
	before := taint()
	err := execTest(report, test)
	event := plan.Event{Kind: plan.Result, Name: test.Name, Taint: taint() &^ before}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		event.Exit, event.Error = exit.ExitCode(), err.Error()
	case err != nil:
		event.Exit, event.Error = -1, err.Error()
	}
	return plan.Write(report, event)
}

func execTest(output io.Writer, test plan.Test) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(test.Seconds)*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, test.Binary, test.Args...)
	cmd.Dir = test.Dir
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Env = []string{"PATH=/bin", "HOME=/tmp", "TMPDIR=/tmp", "FUNNEL_REQUIRE_ROOT=1"}
	err := cmd.Run()
	if ctx.Err() != nil {
		return fmt.Errorf("no end after %d s: %w", test.Seconds, err)
	}
	return err
}

// taint returns the kernel's taint flags, all ones when they can't be read.
func taint() uint64 {
	text, err := os.ReadFile("/proc/sys/kernel/tainted")
	if err != nil {
		return ^uint64(0)
	}
	flags, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return ^uint64(0)
	}
	return flags
}
