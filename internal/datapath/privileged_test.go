// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"testing"
)

// scaled is n, or a small part of it where tests run with -short: kernels in
// emulation are slow.
func scaled(n int) int {
	if testing.Short() {
		return max(1, n/40)
	}
	return n
}
