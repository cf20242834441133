// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

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
