// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// preemptible is the first kernel whose PREEMPT_RT lets a section with bottom halves
// disabled be preempted by another one on its processor, unless it is built with
// CONFIG_PREEMPT_RT_NEEDS_BH_LOCK (commit 3253cb49cbad; 6.18, and stable releases).
var preemptible = []int{6, 12, 57}

// refusePreemption returns an error on such a kernel: what a program knows of a packet lies
// in memory of the processor, and another packet's would come between.
func refusePreemption() error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("which kernel this is: %w", err)
	}
	return mixesPackets(unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:]))
}

// mixesPackets is refusePreemption for what uname -r and uname -v print.
func mixesPackets(release, version string) error {
	if !slices.Contains(strings.Fields(version), "PREEMPT_RT") {
		return nil
	}
	number := make([]int, len(preemptible))
	_, _ = fmt.Sscanf(release, "%d.%d.%d", &number[0], &number[1], &number[2]) // what is missing counts as 0
	if slices.Compare(number, preemptible) < 0 {
		return nil
	}
	return fmt.Errorf("the kernel %s is one with PREEMPT_RT, which from Linux 6.12.57 on may run programs for two packets at once "+
		"on a processor, and they would be mixed up: this node needs a kernel without PREEMPT_RT", release)
}
