// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/report"
)

// terminationLog is where the kubelet looks for a container's last words.
const terminationLog = "/dev/termination-log"

// finish prints the error of the run, writes the report and returns the exit
// code. A report that can't be written is a failure of its own: without it the
// controller would never know.
func (a *attachment) finish(err error) int {
	code := exitDone
	switch {
	case err == nil:
	case isBadInput(err):
		a.note("%v", err)
		code = exitBadInput
	default:
		code = a.failed(err)
	}
	if err != nil {
		a.report.Error = oneLine(err)
	}
	if err := a.writeReport(); err != nil && code == exitDone {
		return a.failed(fmt.Errorf("rules are attached, but the report is not written: %w", err))
	} else if err != nil {
		a.failed(fmt.Errorf("write report: %w", err))
	}
	return code
}

func (a *attachment) writeReport() error {
	path := a.getenv("SFUNNEL_REPORT")
	if path == "" && a.pod {
		path = terminationLog
	}
	if path == "" {
		return nil
	}
	size := 0
	if s := a.getenv("SFUNNEL_REPORT_MAX"); s != "" {
		var err error
		if size, err = strconv.Atoi(s); err != nil {
			a.note("attacher: SFUNNEL_REPORT_MAX=%q: want a number of bytes", s)
		}
	}
	a.report.Kernel = kernelRelease()
	return report.Write(path, a.report, size)
}

// kernelRelease is what uname -r prints.
func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
