// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// The controller compiles a policy at each event that concerns it, so the
// largest one must not take long.
func BenchmarkCompileLargestText(b *testing.B) {
	p := withText(largestText("udp"), largestText("tcp"))
	for b.Loop() {
		if _, errs := Compile(p, Cluster{}); len(errs) > 0 {
			b.Fatal(errs[0])
		}
	}
}

func BenchmarkConflictsOfLargest(b *testing.B) {
	older, younger := withText(largestText("udp"), ""), withText(largestText("tcp"), "")
	older.Name = "older"
	var all []Compiled
	for _, p := range []*Compiled{{Policy: older}, {Policy: younger}} {
		p.Program, _ = Compile(p.Policy, Cluster{})
		all = append(all, *p)
	}
	for b.Loop() {
		Conflicts(all)
	}
}

// largestText has as many rules as there may be, all different.
func largestText(protocol string) string {
	var text strings.Builder
	for i := range rules.MaxRules {
		fmt.Fprintf(&text, "ip daddr 10.%d.%d.0/24 %s dport 443 funnel tcp dport 80 sport %d\n", i>>8, i&255, protocol, 540+i%2)
	}
	return text.String()
}
