// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		name, rules string
		want        []string // "number of the rule: kind"
	}{
		{"nothing to say", "ip udp dport 53 funnel tcp dport 80 sport 540; tcp drop", nil},
		{"the document's client", podA, nil},
		{"the document's backend", podB, []string{"1 UnfunnelWithoutPorts", "2 UnfunnelWithoutPorts"}},

		{"loop", "ip tcp dport { 80, 443 } funnel tcp dport 80 sport 540", []string{"1 Loop"}},
		{"loop by any port", "ip tcp funnel tcp dport 80 sport 540-547", []string{"1 Loop"}},
		{"no loop: another source port", "ip tcp dport 80 sport != 540 funnel tcp dport 80 sport 540", nil},
		{"no loop: another protocol", "ip udp dport 80 funnel tcp dport 80 sport 540", nil},
		{"no loop: an earlier rule takes it", "ip tcp dport 80 sport 540-550 accept; ip tcp dport 80-90 funnel tcp dport 80 sport 540", nil},
		{"loop: an earlier rule takes half of it", "ip tcp dport 80 sport 540 accept; ip tcp dport 80-90 funnel tcp dport 80 sport 540-547", []string{"2 Loop"}},
		{"inline does not loop", "ip tcp dport { 80, 443 } funnel tcp dport 80 inline", nil},

		{"twice the same", "tcp dport 80 drop; tcp dport 80 accept", []string{"2 Shadowed"}},
		{"a wider rule in front", "tcp dport 1-100 drop; ip saddr 10.0.0.1 tcp dport { 5, 80 } sport 3 pushed accept", []string{"2 Shadowed"}},
		{"a prefix in front", "daddr 10.0.0.0/8 tcp drop; daddr { 10.1.0.0/16, 10.2.0.1 } tcp drop", []string{"2 Shadowed"}},
		{"a negated set in front", "daddr != 10.0.0.0/8 tcp drop; daddr 11.0.0.0/8 tcp drop", []string{"2 Shadowed"}},
		{"negated ports in front", "tcp dport != 80 drop; tcp dport 81-90 drop", []string{"2 Shadowed"}},
		{"complements", "tcp dport != { 1-79, 81-65535 } drop; tcp dport 80 drop", []string{"2 Shadowed"}},
		{"the last port is left", "tcp dport != 1-65534 drop; tcp dport 65535 drop", []string{"2 Shadowed"}},
		{"not shadowed: another family", "ip tcp drop; tcp drop", nil},
		{"not shadowed: pushed in front", "tcp dport 80 pushed drop; tcp dport 80 drop", nil},
		{"not shadowed: an edge is left", "tcp dport 1-79 drop; tcp dport 79-80 drop", nil},
		{"not shadowed: a negated set overlaps", "daddr != 10.1.0.0/16 tcp drop; daddr 10.0.0.0/8 tcp drop", nil},
		{"everything of a family in front", "daddr 0.0.0.0/0 tcp drop; ip tcp dport 5 drop", []string{"2 Shadowed"}},

		{"never matches", "daddr != 0.0.0.0/0 tcp drop", []string{"1 NeverMatches"}},

		{"one marker, two inner protocols", "ip udp dport 53 funnel tcp dport 80 sport 540-547; ip tcp dport 443 funnel tcp dport 80 sport 547", []string{"2 MarkerConflict"}},
		{"two markers", "ip udp dport 53 funnel tcp dport 80 sport 540-547; ip tcp dport 443 funnel tcp dport 80 sport 548", nil},
		{"one marker, two backends", "daddr 10.0.0.1 udp dport 53 funnel tcp dport 80 sport 540; daddr 10.0.0.2 tcp dport 443 funnel tcp dport 80 sport 540", nil},
		{"pushed takes both", "ip tcp dport 80 pushed unfunnel udp dport 53; ip tcp dport 80-81 sport 5 unfunnel tcp dport 443", []string{"2 MarkerConflict"}},
		{"ports that come back soon", "udp dport 53 funnel tcp dport 80 sport 540-544; udp dport 54 funnel tcp dport 80 sport 540-545", []string{"1 FewSourcePorts"}},
		{"one port does not move", "udp dport 53 funnel tcp dport 80 sport 540; udp dport 54 funnel udp dport 80 sport 540-541", nil},
		{"pushed on two ports", "ip tcp dport 80 pushed unfunnel udp dport 53; ip tcp dport 81 pushed unfunnel tcp dport 443", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, w := range mustParse(t, c.rules).Warnings(Egress) {
				got = append(got, fmt.Sprintf("%d %s", w.Rule+1, w.Kind))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestWarningNamesTheRule(t *testing.T) {
	w := mustParse(t, "tcp drop; tcp dport 80 accept").Warnings(Egress)[0]
	want := "rule 2 (tcp dport 80 actions accept): never reached: rule 1 matches all of its packets"
	if w.String() != want {
		t.Errorf("got %s, want %s", w, want)
	}
}

func BenchmarkWarnings(b *testing.B) {
	var text strings.Builder
	for i := range MaxRules {
		fmt.Fprintf(&text, "ip daddr 10.96.%d.%d udp dport %d funnel tcp dport 80 sport 540\n", i>>8, i&255, 1+i)
	}
	rs := mustParse(b, text.String())
	start := time.Now()
	for b.Loop() {
		rs.Warnings(Egress)
	}
	b.ReportMetric(float64(time.Since(start).Milliseconds())/float64(b.N), "ms")
}
