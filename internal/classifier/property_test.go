// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"testing"
	"time"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/rules/rulestest"
)

// sizes of random rule sets: the edges of words, blocks and the direct form,
// and the largest.
var sizes = []int{0, 1, 2, 3, 5, 8, 63, 64, 65, 100, 127, 128, 129, 480, 511, 512, 513, 1000, 2047, 4096}

func TestLookupAgreesWithMatch(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for _, n := range sizes {
		for round := range max(1, 40-n/20) {
			agree(t, seed+uint64(round), n, 1000)
		}
	}
}

func agree(t *testing.T, seed uint64, n, packets int) {
	t.Helper()
	rng := rulestest.New(seed)
	rs := rulestest.RuleSet(rng, n)
	table := mustCompile(t, rs)
	matched := 0
	for _, p := range rulestest.Packets(rng, rs, packets) {
		want, wantOK := rs.Match(p)
		got, ok := table.Lookup(p)
		if ok != wantOK || ok && got != want {
			t.Fatalf("seed %d, %d rules, %+v: Lookup %d %v, Match %d %v", seed, n, p, got, ok, want, wantOK)
		}
		if ok {
			matched++
		}
		if n > 0 {
			samePorts(t, seed, table, rng.IntN(n), p.DestinationPort)
		}
	}
	t.Logf("seed %d: %d rules, %d of %d packets matched", seed, n, matched, packets)
}

func samePorts(t *testing.T, seed uint64, table *Table, rule int, port uint16) {
	t.Helper()
	want := table.Rules()[rule].Action.Ports.Contains(port)
	if got := table.PortAllowed(rule, port); got != want {
		t.Fatalf("seed %d: PortAllowed(%d, %d) = %v, the set says %v", seed, rule, port, got, want)
	}
}

func mustCompile(t testing.TB, rs rules.RuleSet) *Table {
	t.Helper()
	table, err := Compile(rs)
	if err != nil {
		t.Fatal(err)
	}
	return table
}
