// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"os"
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

// requireRoot skips a test that needs the kernel's bpf system call when it is
// not run as root. In CI that is a failure.
func requireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" || os.Getenv("FUNNEL_REQUIRE_ROOT") == "1" {
		t.Fatal("needs root: loads programs into the kernel")
	}
	t.Skip("needs root: loads programs into the kernel")
}
