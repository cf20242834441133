// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// valid is a rule to break.
func valid() Rule {
	return Rule{
		Protocol: UDP,
		Action:   Action{Verb: Funnel, Protocol: TCP, Port: 80, SourcePorts: PortRange{540, 547}},
	}
}

func TestValidateFindsWhatTextCannotSay(t *testing.T) {
	prefix := netip.MustParsePrefix("10.0.0.0/8")
	for _, c := range []struct {
		name  string
		spoil func(*Rule)
		want  string
	}{
		{"no protocol", func(r *Rule) { r.Protocol = 0 }, "the rule names no protocol"},
		{"unknown protocol", func(r *Rule) { r.Protocol = 132 }, "unknown protocol(132)"},
		{"unknown family", func(r *Rule) { r.Family = 5 }, "unknown family(5)"},
		{"empty negation of addresses", func(r *Rule) { r.Source.Not = true }, "!= without an address"},
		{"empty negation of ports", func(r *Rule) { r.SourcePorts.Not = true }, "!= without a port"},
		{"zero prefix", func(r *Rule) { r.Source.Prefixes = []netip.Prefix{{}} }, "not a valid prefix"},
		{"family of the address", func(r *Rule) { r.Family, r.Source.Prefixes = IPv6, []netip.Prefix{prefix} }, "10.0.0.0/8 is an IPv4 address in an IPv6 rule"},
		{"port 0", func(r *Rule) { r.DestinationPorts.Ranges = []PortRange{{0, 5}} }, "port 0 can't be used"},
		{"reversed range", func(r *Rule) { r.DestinationPorts.Ranges = []PortRange{{6, 5}} }, "the range 6-5 is reversed"},
		{"reversed outer ports", func(r *Rule) { r.Action.SourcePorts = PortRange{6, 5} }, "the range 6-5 is reversed"},
		{"no through port", func(r *Rule) { r.Action.Port = 0 }, "funnel needs the port to go through"},
		{"no outer source port", func(r *Rule) { r.Action.SourcePorts = PortRange{} }, "funnel needs an outer source port"},
		{"no outer protocol", func(r *Rule) { r.Action.Protocol = 0 }, "funnel names no outer protocol"},
		{"funnel with inner ports", func(r *Rule) { r.Action.Ports.Ranges = []PortRange{{1, 1}} }, "funnel takes no set of inner ports"},
		{"unknown verb", func(r *Rule) { r.Action.Verb = 9 }, "unknown verb(9)"},
		{"accept with a port", func(r *Rule) { r.Action = Action{Port: 5} }, "accept takes nothing else"},
		{"unfunnel without protocol", func(r *Rule) { r.Action = Action{Verb: Unfunnel} }, "unfunnel names no inner protocol"},
		{"unfunnel with outer ports", func(r *Rule) { r.Action = Action{Verb: Unfunnel, Protocol: UDP, Port: 5} }, "unfunnel takes no outer ports"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := valid()
			c.spoil(&r)
			err := RuleSet{valid(), r}.Validate()
			var fault *RuleError
			if !errors.As(err, &fault) || fault.Rule != 1 || !strings.HasPrefix(fault.Message, c.want) {
				t.Errorf("got %v, want rule 1: %s", err, c.want)
			}
		})
	}
	if err := (RuleSet{valid()}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateReportsAllRules(t *testing.T) {
	bad := valid()
	bad.Protocol = 0
	err := RuleSet{bad, valid(), bad}.Validate()
	want := "rule 1 (protocol(0) actions funnel tcp dport 80 sport 540-547): the rule names no protocol; expected tcp or udp\n" +
		"rule 3 (protocol(0) actions funnel tcp dport 80 sport 540-547): the rule names no protocol; expected tcp or udp"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestValidateLimitsTheNumberOfRules(t *testing.T) {
	rs := slices.Repeat(RuleSet{valid()}, MaxRules)
	if err := rs.Validate(); err != nil {
		t.Error(err)
	}
	if err := append(rs, valid()).Validate(); err == nil || !strings.Contains(err.Error(), tooManyRules) {
		t.Error(err)
	}
}
