// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

func TestCompileRefusesWhatIsTooLarge(t *testing.T) {
	drop := rules.Rule{Protocol: rules.TCP, Action: rules.Action{Verb: rules.Drop}}
	for _, c := range []struct {
		name string
		rs   rules.RuleSet
		want LimitError
	}{
		{"rules", slices.Repeat(rules.RuleSet{drop}, MaxRules+1), LimitError{MaxRules, MaxRules + 1, "rules"}},
		{"sets of rules", counters(16), LimitError{65536, 0, "different sets of rules that ports and addresses satisfy"}},
		{"blocks", counters(528), LimitError{65536, 0, "different blocks of 512 rules that ports and addresses satisfy"}},
		{"pages", scattered(16), LimitError{65536, 0, "pages of ports and IPv4 addresses"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Compile(c.rs)
			var limit *LimitError
			if !errors.As(err, &limit) || limit.Limit != c.want.Limit || limit.What != c.want.What || limit.Wanted <= limit.Limit {
				t.Errorf("got %v, want %v", err, &c.want)
			}
		})
	}
}

// counters is n rules of which every port satisfies others: the first 16 of a
// block ask for one bit of the port each.
func counters(n int) rules.RuleSet {
	rs := make(rules.RuleSet, n)
	for i := range rs {
		rs[i] = rules.Rule{Protocol: rules.TCP, Action: rules.Action{Verb: rules.Drop}}
		step := 1 << min(i%blockRules, 16)
		for port := step; port < 1<<16; port += 2 * step {
			ports := rules.PortRange{First: uint16(port), Last: uint16(port + step - 1)}
			rs[i].SourcePorts.Ranges = append(rs[i].SourcePorts.Ranges, ports)
		}
	}
	return rs
}

// scattered is as many rules as possible with n addresses each, which share
// no /24 and so no page.
func scattered(n int) rules.RuleSet {
	rs := make(rules.RuleSet, MaxRules)
	for i := range rs {
		rs[i] = rules.Rule{Protocol: rules.TCP, Action: rules.Action{Verb: rules.Drop}}
		for j := range n {
			a := netip.AddrFrom4([4]byte{byte(j), byte(i >> 8), byte(i), byte(j)})
			rs[i].Source.Prefixes = append(rs[i].Source.Prefixes, netip.PrefixFrom(a, 32))
		}
	}
	return rs
}

func TestCompileRefusesWhatIsNotValid(t *testing.T) {
	_, err := Compile(rules.RuleSet{{}})
	var faults rules.RuleErrors
	if !errors.As(err, &faults) {
		t.Errorf("got %v", err)
	}
}

func TestCompileKeepsRulesInCanonicalForm(t *testing.T) {
	rs := rules.RuleSet{{
		Protocol:         rules.TCP,
		DestinationPorts: rules.PortSet{Ranges: []rules.PortRange{{First: 5, Last: 6}, {First: 1, Last: 4}}},
		Action:           rules.Action{Verb: rules.Drop},
	}}
	if got, want := mustCompile(t, rs).Rules().String(), "tcp dport 1-6 actions drop\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Tables are as large as the rules make them: a page is 512 octets.
func TestMemoryGrowsWithTheRules(t *testing.T) {
	for _, c := range []struct {
		name, rules string
		most        int
	}{
		{"nothing", "", 64},
		{"no condition but the protocol", "tcp drop", 64},
		{"one port", "tcp dport 80 drop", 4 * 512},
		{"one port, both ways", "tcp dport 80 drop; tcp sport 80 accept", 8 * 512},
		{"one address", "daddr 10.96.0.1 tcp dport 80 drop", 12 * 512},
		{"five addresses of a network", "daddr { 10.96.0.1, 10.96.0.3, 10.96.0.5, 10.96.0.7, 10.96.0.9 } tcp dport 80 drop", 12 * 512},
	} {
		t.Run(c.name, func(t *testing.T) {
			rs, err := rules.Parse(c.rules)
			if err != nil {
				t.Fatal(err)
			}
			table := mustCompile(t, rs)
			if got := len(table.Memory()); got > c.most || got != int(8*table.Layout().Words) {
				t.Errorf("%d octets (layout: %d words), at most %d expected", got, table.Layout().Words, c.most)
			}
		})
	}
}
