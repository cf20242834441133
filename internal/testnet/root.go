// SPDX-License-Identifier: Apache-2.0

// Package testnet makes network namespaces, veth pairs and captures for tests
// on the real kernel, and removes them again when the test ends, failed or not.
package testnet

import (
	"os"
	"testing"
)

// RequireRoot skips a test that needs root and says so. Where tests must not
// be skipped (CI=true or FUNNEL_REQUIRE_ROOT=1) it fails instead.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" || os.Getenv("FUNNEL_REQUIRE_ROOT") == "1" {
		t.Fatal("must run as root")
	}
	t.Skip("needs root: loads BPF programs, makes network namespaces")
}
