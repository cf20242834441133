// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"strings"
	"testing"
)

func TestKernelsThatMixPacketsAreRefused(t *testing.T) {
	for _, k := range []struct {
		release, version string
		refused          bool
	}{
		{"6.18.44-fc-v509", "#1 SMP PREEMPT_DYNAMIC Fri Nov 13", false},
		{"6.18.0-rt1", "#1 SMP PREEMPT_RT Fri Nov 13", true},
		{"7.0-rc1", "#1 SMP PREEMPT_RT Fri Nov 13", true},
		{"6.12.57+deb13-rt-amd64", "#1 SMP PREEMPT_RT Debian 6.12.57-1", true},
		{"6.12.48+deb13-rt-amd64", "#1 SMP PREEMPT_RT Debian 6.12.48-1", false},
		{"6.14.0-1010-realtime", "#10-Ubuntu SMP PREEMPT_RT Fri Nov 13", false},
		{"6.17.0-5-realtime", "#5-Ubuntu SMP PREEMPT_RT Fri Nov 13", true},
		{"6.1.0-41-rt-amd64", "#1 SMP PREEMPT_RT Debian 6.1.158-1", false},
	} {
		err := mixesPackets(k.release, k.version)
		if (err != nil) != k.refused || err != nil && !strings.Contains(err.Error(), k.release) {
			t.Errorf("%s (%s): %v", k.release, k.version, err)
		}
	}
}
