// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"strings"
	"testing"
)

func TestSamples(t *testing.T) {
	s := samples{4, 1, 3, 2, 5}
	if s.median() != 3 || s.quantile(0.25) != 2 || s.quantile(0.75) != 4 || s.spread() != 2.0/3 {
		t.Errorf("median %v, quartiles %v %v, spread %v", s.median(), s.quantile(0.25), s.quantile(0.75), s.spread())
	}
	if s[0] != 4 {
		t.Error("samples were reordered")
	}
	if even := (samples{1, 2}).median(); even != 1.5 {
		t.Errorf("median of 1 and 2: %v", even)
	}
	if !math.IsNaN(samples(nil).median()) {
		t.Error("a median without samples")
	}
}

func TestRatiosArePaired(t *testing.T) {
	// The machine halves its speed in the second round; the ratio does not.
	base, mode := samples{100, 50}, samples{80, 40}
	if ratio := mode.over(base); ratio[0] != 0.8 || ratio[1] != 0.8 {
		t.Errorf("ratios %v", ratio)
	}
}

func TestDifferencesArePaired(t *testing.T) {
	if d := (samples{12, 62, 9}).minus(samples{10, 60}); len(d) != 2 || d[0] != 2 || d[1] != 2 {
		t.Errorf("differences %v", d)
	}
}

func TestGoals(t *testing.T) {
	for g, want := range map[goal]string{
		{measured: 0.95, bound: 0.95}:                        "≥ 0.95: met",
		{measured: 0.94, bound: 0.95}:                        "≥ 0.95: not met",
		{measured: 10, bound: 10, atMost: true, unit: " ns"}: "≤ 10 ns: met",
		{measured: 1, atMost: true}:                          "≤ 0: not met",
		{measured: math.NaN(), bound: 50, atMost: true}:      "≤ 50: not met",
		{measured: math.NaN(), bound: 0.9}:                   "≥ 0.9: not met",
	} {
		if got := g.String(); got != want {
			t.Errorf("%v: %s, want %s", g.measured, got, want)
		}
	}
}

// A target for a mode that the row does not measure would never be looked at.
func TestTargetsAreMeasured(t *testing.T) {
	for _, r := range rows {
		for name := range r.targets {
			if modeNamed(name).kinds&r.kind == 0 {
				t.Errorf("%s: a target for %s, which does not apply", r.name, name)
			}
		}
	}
}

func TestEveryModeParses(t *testing.T) {
	for _, m := range modes("") {
		for _, s := range []side{m.client, m.server} {
			if _, err := s.parse(); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
		}
	}
}

func TestManyRulesParse(t *testing.T) {
	if lines := strings.Count(manyRules(300), "\n"); lines != 300 {
		t.Errorf("%d rules, want 300", lines)
	}
	if _, err := (side{egress: manyRules(300)}).parse(); err != nil {
		t.Error(err)
	}
}
