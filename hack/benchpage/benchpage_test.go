// SPDX-License-Identifier: Apache-2.0

package benchpage

import (
	"math"
	"runtime"
	"testing"
)

func TestSamples(t *testing.T) {
	s := Samples{4, 1, 3, 2, 5}
	if s.Median() != 3 || s.Quantile(0.25) != 2 || s.Quantile(0.75) != 4 || s.Spread() != 2.0/3 {
		t.Errorf("median %v, quartiles %v %v, spread %v", s.Median(), s.Quantile(0.25), s.Quantile(0.75), s.Spread())
	}
	if s[0] != 4 {
		t.Error("samples were reordered")
	}
	if even := (Samples{1, 2}).Median(); even != 1.5 {
		t.Errorf("median of 1 and 2: %v", even)
	}
	if !math.IsNaN(Samples(nil).Median()) {
		t.Error("a median without samples")
	}
}

func TestRatiosArePaired(t *testing.T) {
	// The machine halves its speed in the second round; the ratio does not.
	base, mode := Samples{100, 50}, Samples{80, 40}
	if ratio := mode.Over(base); ratio[0] != 0.8 || ratio[1] != 0.8 {
		t.Errorf("ratios %v", ratio)
	}
}

func TestDifferencesArePaired(t *testing.T) {
	if d := (Samples{12, 62, 9}).Minus(Samples{10, 60}); len(d) != 2 || d[0] != 2 || d[1] != 2 {
		t.Errorf("differences %v", d)
	}
}

func TestGoals(t *testing.T) {
	for g, want := range map[Goal]string{
		{Measured: 0.95, Bound: 0.95}:                        "≥ 0.95: met",
		{Measured: 0.94, Bound: 0.95}:                        "≥ 0.95: not met",
		{Measured: 10, Bound: 10, AtMost: true, Unit: " ns"}: "≤ 10 ns: met",
		{Measured: 1, AtMost: true}:                          "≤ 0: not met",
		{Measured: math.NaN(), Bound: 50, AtMost: true}:      "≤ 50: not met",
		{Measured: math.NaN(), Bound: 0.9}:                   "≥ 0.9: not met",
	} {
		if got := g.String(); got != want {
			t.Errorf("%v: %s, want %s", g.Measured, got, want)
		}
	}
}

func TestAHiddenModelIsToldByItsNumbers(t *testing.T) {
	for cpuinfo, want := range map[string]string{
		"": runtime.GOARCH,
		"cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n":                        "AMD EPYC family 26 model 2",
		"cpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC 7763 64-Core Processor\n": "AMD EPYC 7763 64-Core Processor",
	} {
		if got := modelIn(cpuinfo); got != want {
			t.Errorf("%q: got %q, want %q", cpuinfo, got, want)
		}
	}
}
