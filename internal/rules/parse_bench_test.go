// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/rules/rulestest"
)

func BenchmarkParse(b *testing.B) {
	text := rulestest.Distinct(1000).String()
	for b.Loop() {
		if _, err := rules.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkString(b *testing.B) {
	rs := rulestest.Distinct(1000)
	for b.Loop() {
		_ = rs.String()
	}
}
