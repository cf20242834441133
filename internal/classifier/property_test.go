// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"math/rand/v2"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/rules/rulestest"
)

// sizes of random rule sets: the edges of words, blocks and the direct form,
// and the largest.
var sizes = []int{0, 1, 2, 3, 5, 8, 63, 64, 65, 100, 127, 128, 129, 480, 511, 512, 513, 1000, 2047, 4096}

func TestLookupAgreesWithMatch(t *testing.T) {
	seed := rulestest.Seed(t)
	for _, n := range sizes {
		for round := range max(1, 40-n/20) {
			rng := rulestest.New(seed + uint64(round))
			agree(t, rng, rulestest.RuleSet(rng, n))
			agree(t, rng, rulestest.Narrow(rng, n))
		}
	}
}

func TestLookupAgreesWithMatchWhereRulesOverlap(t *testing.T) {
	rng := rulestest.New(rulestest.Seed(t))
	for _, n := range []int{2, 64, 65, 1000, rules.MaxRules} {
		agree(t, rng, rulestest.Overlapping(n))
	}
}

// agree looks packets up; a few thousand rules are slow for Match.
func agree(t *testing.T, rng *rand.Rand, rs rules.RuleSet) {
	t.Helper()
	table := mustCompile(t, rs)
	for _, p := range rulestest.Packets(rng, rs, 1000) {
		want, wantOK := rs.Match(p)
		got, ok := table.Lookup(p)
		if ok != wantOK || ok && got != want {
			t.Fatalf("%+v: Lookup %d %v, Match %d %v\n%s", p, got, ok, want, wantOK, rs)
		}
		if len(rs) > 0 {
			samePorts(t, table, rng.IntN(len(rs)), p.DestinationPort)
		}
	}
}

func samePorts(t *testing.T, table *Table, rule int, port uint16) {
	t.Helper()
	want := table.Rules()[rule].Action.Ports.Contains(port)
	if got := table.PortAllowed(rule, port); got != want {
		t.Fatalf("PortAllowed(%d, %d) = %v, the rule is %v", rule, port, got, table.Rules()[rule])
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
