// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"fmt"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/rules/rulestest"
)

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{5, 1000, MaxRules} {
		rs := rulestest.Distinct(n)
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			for b.Loop() {
				mustCompile(b, rs)
			}
			b.ReportMetric(float64(len(mustCompile(b, rs).Memory())), "octets")
		})
	}
}
