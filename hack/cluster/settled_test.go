// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

// Pods that are none are waited for, too.
func TestUntilEqualLooksOnceAtLeast(t *testing.T) {
	looks := [][]string{{"10.91.1.5"}, {}, {"not looked at"}}
	err := untilEqual(t.Context(), nil, func() ([]string, error) {
		now := looks[0]
		looks = looks[1:]
		return now, nil
	})
	if err != nil || len(looks) != 1 {
		t.Errorf("%v, %d looks are left, want 1", err, len(looks))
	}
}

func TestEndpointsIn(t *testing.T) {
	for _, test := range []struct{ name, rules, want string }{
		{"nothing", "", ""},
		{"nftables map", `numgen random mod 2 vmap { 0 : goto endpoint-MIX-demo/echo/tcp/web__10.91.1.5/8081, 1 : goto endpoint-AUE-demo/echo/tcp/web__10.91.1.6/8081 }`, "10.91.1.5 10.91.1.6"},
		{"nftables, a chain nobody jumps to", `chain endpoint-MIX-demo/echo/tcp/web__10.91.1.5/8081 {`, ""},
		{"nftables, IPv6", `ip6 saddr @a goto endpoint-MIX-demo/echo/udp/ipfix__fd91.0.0.1..5/4739`, "fd91:0:0:1::5"},
		{"iptables", `-A KUBE-SVC-X -m comment --comment "demo/echo:web -> 10.91.1.5:8081" -j KUBE-SEP-Y`, "10.91.1.5"},
		{"iptables, unnamed port", `-A KUBE-SVC-X -m comment --comment "demo/echo -> 10.91.1.5:8081" -j KUBE-SEP-Y`, "10.91.1.5"},
		{"iptables, IPv6", `-A KUBE-SVC-X -m comment --comment "demo/echo:web -> [fd91::5]:8081" -j KUBE-SEP-Y`, "fd91::5"},
		{"another Service", `-A KUBE-SVC-X -m comment --comment "demo/echo2:web -> 10.91.1.5:8081" -j KUBE-SEP-Y`, ""},
	} {
		if got := strings.Join(endpointsIn(test.rules, "demo/echo"), " "); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}
