// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"os"
	"testing"
)

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
