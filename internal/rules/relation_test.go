// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/rules/rulestest"
)

// A shadowed rule must never be the first to match, whatever the packet.
func TestShadowedRulesNeverMatch(t *testing.T) {
	rng := rulestest.New(rulestest.Seed(t))
	shadowed := 0
	for range 300 {
		rs := rulestest.RuleSet(rng, 1+rng.IntN(30))
		dead := map[int]bool{}
		for _, w := range rs.Warnings(rules.Egress) {
			if w.Kind == rules.Shadowed || w.Kind == rules.NeverMatches {
				dead[w.Rule] = true
			}
		}
		shadowed += len(dead)
		for _, p := range rulestest.Packets(rng, rs, 300) {
			if i, ok := rs.Match(p); ok && dead[i] {
				t.Fatalf("%+v matches rule %d of\n%s", p, i+1, rs)
			}
		}
	}
	if shadowed < 100 {
		t.Errorf("only %d rules were shadowed: the test proves little", shadowed)
	}
}

func TestRandomRuleSetsAreReadAsPrinted(t *testing.T) {
	rng := rulestest.New(rulestest.Seed(t))
	for range 200 {
		rs := rulestest.RuleSet(rng, 1+rng.IntN(60))
		if err := rs.Validate(); err != nil {
			t.Fatal(err)
		}
		again, err := rules.Parse(rs.String())
		if err != nil {
			t.Fatalf("%v\n%s", err, rs)
		}
		sameRuleSet(t, again, rs)
	}
}
