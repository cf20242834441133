// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestAdditions(t *testing.T) {
	const before = "link eth0\nsysctl kernel/panic 1\nsysctl net/ipv4/tcp_rmem 4096 8192\n"
	for _, test := range []struct{ name, now, want string }{
		{"nothing changed", before, ""},
		{"something went", "link eth0", ""},
		{"something came", "link eth0;link veth1", "link veth1"},
		{"a value changed", "sysctl kernel/panic 10", "sysctl kernel/panic 10"},
		{"one of several values changed", "sysctl net/ipv4/tcp_rmem 4096 9000", "sysctl net/ipv4/tcp_rmem 4096 9000"},
		{"a module was loaded", "sysctl net/ipv4/vs/drop_entry 0", ""},
	} {
		now := map[string]bool{}
		for _, line := range strings.FieldsFunc(test.now, func(r rune) bool { return r == ';' || r == '\n' }) {
			now[line] = true
		}
		if got := strings.Join(slices.Sorted(maps.Keys(additions(before, now))), ";"); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}
