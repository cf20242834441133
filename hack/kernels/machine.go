// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// machine is one boot of a kernel. Its console and the guest's report go to the
// files console.log and report.log of dir.
type machine struct {
	on      architecture
	kernel  kernel
	archive []byte // initramfs
	dir     string
	timeout time.Duration
}

// errTimeout: the machine was still running when its time was up.
var errTimeout = errors.New("the machine did not power off in time")

// run boots the machine and waits until it is off. It says nothing of what the
// guest did: that is in the report. Software emulation needs no privilege and
// works where nested virtualization does not.
func (m machine) run(ctx context.Context) error {
	initrd := filepath.Join(m.dir, "initramfs.cpio")
	if err := os.WriteFile(initrd, m.archive, 0o644); err != nil {
		return err
	}
	defer os.Remove(initrd)
	limited, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()

	// A kernel that oopses panics, and one that panics ends the machine.
	cmd := exec.CommandContext(limited, m.on.emulator, slices.Concat(
		[]string{"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"},
		m.on.machine,
		[]string{
			"-accel", "tcg", "-m", "2048",
			"-kernel", m.kernel.image, "-initrd", initrd,
			"-append", "console=" + m.on.console + " loglevel=5 panic=-1 oops=panic mitigations=off",
			"-serial", "file:" + filepath.Join(m.dir, "console.log"),
		},
		m.on.reportTo(filepath.Join(m.dir, "report.log")))...)
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if limited.Err() != nil {
		return fmt.Errorf("%w (%s)", errTimeout, m.timeout)
	}
	if err != nil {
		return fmt.Errorf("qemu: %w\n%s", err, strings.TrimSpace(string(output)))
	}
	return nil
}
