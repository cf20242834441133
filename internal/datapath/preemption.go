// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// refusePreemption returns an error on a kernel that may run a program for two packets at once
// on a processor: what it knows of a packet lies in memory of the processor.
func refusePreemption() error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("which kernel this is: %w", err)
	}
	return mixesPackets(unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:]))
}

// mixesPackets is refusePreemption for what uname -r and uname -v print. With PREEMPT_RT a
// section with bottom halves disabled may be preempted by another one on its processor since
// Linux 6.18 (commit 3253cb49cbad), 6.12.57 and perhaps some 6.17, unless the kernel is built
// with CONFIG_PREEMPT_RT_NEEDS_BH_LOCK, which does not show.
func mixesPackets(release, version string) error {
	if !slices.Contains(strings.Fields(version), "PREEMPT_RT") {
		return nil
	}
	number := make([]int, 3)
	_, _ = fmt.Sscanf(release, "%d.%d.%d", &number[0], &number[1], &number[2]) // what is missing counts as 0
	longTerm := slices.Equal(number[:2], []int{6, 12}) && number[2] >= 57
	if !longTerm && slices.Compare(number, []int{6, 17}) < 0 {
		return nil
	}
	return fmt.Errorf("this kernel (%s) is one with PREEMPT_RT that may run programs for two packets at once on a processor, "+
		"and they would be mixed up: the node needs one without PREEMPT_RT, or before Linux 6.17 and 6.12.57", release)
}
