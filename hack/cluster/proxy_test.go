// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOnlyMode(t *testing.T) {
	const iptables, nftables = ":KUBE-SERVICES - [0:0]\n", "table ip kube-proxy {\n"
	for _, test := range []struct {
		name, rules, mode string
		want              bool
	}{
		{"before the first rules", "", "iptables", false},
		{"iptables", iptables, "iptables", true},
		{"nftables", nftables, "nftables", true},
		{"still the other one's", iptables, "nftables", false},
		{"both", iptables + nftables, "nftables", false},
	} {
		if got := onlyMode(test.rules, test.mode); got != test.want {
			t.Errorf("%s: got %v", test.name, got)
		}
	}
}

func TestChangeModeKeepsTheRest(t *testing.T) {
	c := mustPlan(t, Config{Name: "demo", Nodes: 1, ProxyMode: "nftables", Families: "4", Outside: 1})
	file, want := filepath.Join(t.TempDir(), "config"), filepath.Join(t.TempDir(), "want")
	mustWrite := func(file string) {
		if err := writeJSON(file, c.proxyConfig("node-1")); err != nil {
			t.Fatal(err)
		}
	}
	mustWrite(file)
	if err := changeMode(file, "iptables"); err != nil {
		t.Fatal(err)
	}
	c.ProxyMode = "iptables"
	mustWrite(want)
	got, _ := os.ReadFile(file)
	if expected, _ := os.ReadFile(want); string(got) != string(expected) {
		t.Errorf("got %s, want %s", got, expected)
	}
}
