// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

func mustPlan(t *testing.T, c Config) *flowTable {
	t.Helper()
	f, err := planFlows(c)
	if err == nil {
		err = f.make()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	return f
}

// TestTablesHaveRoomBesideWhatProcessorsKeep: a processor may keep places of a table to
// itself whose entries replace each other.
func TestTablesHaveRoomBesideWhatProcessorsKeep(t *testing.T) {
	testnet.RequireRoot(t)
	processors, err := ebpf.PossibleCPU()
	if err != nil {
		t.Fatal(err)
	}
	f := mustPlan(t, Config{Ingress: mustCompile(t, "tcp dport 1179 pushed unfunnel udp reply\ntcp dport 179 unfunnel tcp inline dport 80"), Flows: 64})
	for name, want := range map[string]int{bpf.EgressMapPushedFlows: 64 + 128*processors, bpf.EgressMapHalfOpen: 64 + 128*processors, bpf.EgressMapFlows: 1 + 64 + 64} {
		if got := f.shared[name].MaxEntries(); got != uint32(want) {
			t.Errorf("%s has %d places, want %d", name, got, want)
		}
	}
	if f.early != 64 {
		t.Errorf("%d flows may be early", f.early)
	}
}

// TestLargeTablesAreSweptSeldom: how much is swept in a tick is bounded, and what a sweep
// found is remembered until the next one.
func TestLargeTablesAreSweptSeldom(t *testing.T) {
	for entries, want := range map[uint32]uint32{1: 1, 2*DefaultFlows + 1: 1, 600_001: 36, 4 * MaxFlows: 73} {
		if got := sweepTicks(entries); got != want {
			t.Errorf("%d entries: every %d ticks, want %d", entries, got, want)
		}
	}
}

// TestAClientBecomesABackend: its table of half-open flows has a single place, since it
// unfunneled nothing.
func TestAClientBecomesABackend(t *testing.T) {
	testnet.RequireRoot(t)
	client := mustCompile(t, "tcp dport 8080 funnel tcp dport 80 inline")
	first := mustPlan(t, Config{Egress: client})
	kept := &Kept{FlowTables: &FlowTables{maps: first.shared}, Unfunneled: map[rules.Direction]bool{}}
	then := mustPlan(t, Config{Egress: client, Ingress: mustCompile(t, "tcp dport 179 unfunnel tcp inline dport 80"), Kept: kept})
	if n := then.shared[bpf.EgressMapHalfOpen].MaxEntries(); n < halfOpenFlows || then.early != halfOpenFlows {
		t.Errorf("%d flows may be half open, %d of them early", n, then.early)
	}
	if n := then.shared[bpf.EgressMapFlows].MaxEntries(); n != first.entries {
		t.Errorf("the table of flows has %d places, and not the %d that it had", n, first.entries)
	}
}

// TestASmallTableHasRoomForLiveFlows when it is kept under rules that ask for a larger one.
func TestASmallTableHasRoomForLiveFlows(t *testing.T) {
	testnet.RequireRoot(t)
	backend := mustCompile(t, "tcp dport 179 unfunnel tcp inline dport 80")
	first := mustPlan(t, Config{Ingress: backend, Flows: 64})
	kept := &Kept{FlowTables: &FlowTables{maps: first.shared}, Unfunneled: map[rules.Direction]bool{}}
	then := mustPlan(t, Config{Ingress: backend, Kept: kept})
	if then.entries != first.entries || then.early != first.early {
		t.Errorf("%d of %d flows may be half open, %d of %d before", then.early, then.entries, first.early, first.entries)
	}
}
