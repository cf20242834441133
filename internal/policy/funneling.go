// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// funneling is what a backend policy says once its Service is known. Rules of
// backends, clients and gateways all follow from it.
type funneling struct {
	// protocol and port are those of the Service port that everything travels
	// through.
	protocol rules.Protocol
	port     uint16
	// targets are the ports of the pods to which the Service leads it, ascending.
	targets []uint16
	// inner are the funneled ports by their protocol.
	inner map[rules.Protocol]rules.PortSet
	// outer are the source ports of pushed headers by the protocol inside.
	outer         map[rules.Protocol]rules.PortRange
	encapsulation v1alpha1.Encapsulation
	// sources are those accepted, none for all.
	sources []netip.Prefix
}

// innerProtocols is the order of rules.
var innerProtocols = []rules.Protocol{rules.TCP, rules.UDP}

func (f *funneling) funnels(inner rules.Protocol) bool { return len(f.inner[inner].Ranges) > 0 }

// inlines reports whether clients rewrite that protocol in place.
func (f *funneling) inlines(inner rules.Protocol) bool {
	return f.funnels(inner) && inner == rules.TCP && f.protocol == rules.TCP && f.encapsulation != v1alpha1.EncapsulationPush
}

// takesPushed reports whether backends take pushed headers off that protocol.
// Under Auto they do whatever our clients emit: others may push all.
func (f *funneling) takesPushed(inner rules.Protocol) bool {
	return f.funnels(inner) && f.encapsulation != v1alpha1.EncapsulationInline
}

// bySourcePort reports whether the source port of the pushed header tells that
// this protocol is inside, so that masquerading, which draws it anew, loses it.
// A UDP header has nothing else. A TCP header has the magic, which suffices where
// one protocol is pushed. Under Auto clients push UDP alone: what is pushed and
// has none of TCP's source ports is UDP, masqueraded or not (but see mistaken).
func (f *funneling) bySourcePort(inner rules.Protocol) bool {
	switch {
	case f.protocol == rules.UDP:
		return true
	case !f.takesPushed(rules.TCP) || !f.takesPushed(rules.UDP):
		return false
	}
	return inner == rules.TCP || f.encapsulation == v1alpha1.EncapsulationPush
}

// ingress are the rules of the backend's pods.
func (f *funneling) ingress() rules.RuleSet {
	var rs rules.RuleSet
	for _, target := range f.targets {
		match := rules.Rule{Protocol: f.protocol, DestinationPorts: onePort(target)}
		for _, from := range f.accepted() {
			match.Family, match.Source = from.family, from.source
			rs = append(rs, f.unfunnel(match)...)
		}
		if len(f.sources) > 0 {
			match.Family, match.Source = rules.AnyFamily, rules.AddrSet{}
			rs = append(rs, f.dropPushed(match)...)
		}
	}
	return rs.Canonical()
}

// accepted divides the sources by IP family.
func (f *funneling) accepted() []familyMatch {
	if len(f.sources) == 0 {
		return []familyMatch{{}}
	}
	all := &addresses{prefixes: f.sources}
	return families(rules.AnyFamily, all, nil)
}

// unfunnel is what is done to the funneled packets of a match: pushed headers
// come off first, since the rule for inline matches them, too.
func (f *funneling) unfunnel(match rules.Rule) rules.RuleSet {
	var rs rules.RuleSet
	for _, inner := range innerProtocols {
		if f.takesPushed(inner) {
			r := f.pushed(match, inner)
			r.Action = rules.Action{Verb: rules.Unfunnel, Protocol: inner, Ports: f.inner[inner], Reply: true}
			rs = append(rs, r)
		}
	}
	if f.inlines(rules.TCP) {
		r := match
		r.Action = rules.Action{Verb: rules.Unfunnel, Protocol: rules.TCP, Inline: true, Ports: f.inner[rules.TCP]}
		rs = append(rs, r)
	}
	return rs
}

// pushed narrows a match to headers pushed in front of that protocol.
func (f *funneling) pushed(match rules.Rule, inner rules.Protocol) rules.Rule {
	match.Pushed = f.protocol == rules.TCP
	if f.bySourcePort(inner) {
		match.SourcePorts = rules.PortSet{Ranges: []rules.PortRange{f.outer[inner]}}
	}
	return match
}

// dropPushed keeps pushed packets that were not accepted from the socket behind
// the through port. An inline connection is refused by its client, which misses
// the marks in the answer.
func (f *funneling) dropPushed(match rules.Rule) rules.RuleSet {
	match.Action = rules.Action{Verb: rules.Drop}
	match.Pushed = f.protocol == rules.TCP
	if !match.Pushed {
		for _, inner := range innerProtocols {
			if f.takesPushed(inner) {
				match.SourcePorts.Ranges = append(match.SourcePorts.Ranges, f.outer[inner])
			}
		}
	}
	if len(match.SourcePorts.Ranges) == 0 && !match.Pushed || f.encapsulation == v1alpha1.EncapsulationInline {
		return nil
	}
	return rules.RuleSet{match}
}

// reach is a set of addresses at which the Service is dialled.
type reach struct {
	addresses []netip.Addr
	// masqueraded says that source ports are drawn anew on the way from there.
	masqueraded bool
}

// egress are the rules that funnel what is sent to these addresses.
func (f *funneling) egress(to []reach, emit func(inner rules.Protocol) (rules.Action, bool)) rules.RuleSet {
	var rs rules.RuleSet
	for _, inner := range innerProtocols {
		action, emitted := emit(inner)
		if !emitted {
			continue
		}
		all := &addresses{prefixes: f.reachable(to, inner, action)}
		for _, m := range families(rules.AnyFamily, nil, all) {
			rs = append(rs, rules.Rule{
				Family: m.family, Destination: m.destination,
				Protocol: inner, DestinationPorts: f.inner[inner], Action: action,
			})
		}
	}
	return rs.Canonical()
}

// reachable are those of the addresses where the backend will recognise what the
// action makes of that protocol.
func (f *funneling) reachable(to []reach, inner rules.Protocol, a rules.Action) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, r := range to {
		if r.masqueraded && !a.Inline && f.lost(inner, a.SourcePorts) {
			continue
		}
		for _, addr := range r.addresses {
			prefixes = append(prefixes, netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	return prefixes
}

// lost reports whether masquerading hides from the backend that this protocol is
// inside a header that was pushed with these source ports.
func (f *funneling) lost(inner rules.Protocol, from rules.PortRange) bool {
	return f.bySourcePort(inner) || f.mistaken(inner, from)
}

// mistaken reports whether masquerading may draw one of TCP's source ports for UDP,
// so that the backend takes it for TCP.
func (f *funneling) mistaken(inner rules.Protocol, from rules.PortRange) bool {
	return inner == rules.UDP && !f.bySourcePort(rules.UDP) && f.bySourcePort(rules.TCP) && slices.ContainsFunc(drawn(from), f.outer[rules.TCP].Overlaps)
}

// keepApart says what to change in the field sourcePorts, lest UDP is mistaken.
func (f *funneling) keepApart(sourcePorts *field.Path) string {
	var among []string
	for _, r := range drawn(f.outer[rules.UDP]) {
		among = append(among, r.String())
	}
	return fmt.Sprintf("leave %s out, or give %s ports outside %s", sourcePorts, sourcePorts.Child("tcp"), strings.Join(among, " and "))
}

// drawn are the ports among which Linux draws a source port anew, when it
// masquerades one of these (nf_nat_l4proto_unique_tuple in net/netfilter/nf_nat_core.c).
func drawn(from rules.PortRange) []rules.PortRange {
	var among []rules.PortRange
	for _, c := range []struct{ of, among rules.PortRange }{
		{rules.PortRange{First: 1, Last: 511}, rules.PortRange{First: 1, Last: 511}},
		{rules.PortRange{First: 512, Last: 1023}, rules.PortRange{First: 600, Last: 1023}},
		{rules.PortRange{First: 1024, Last: 65535}, rules.PortRange{First: 1024, Last: 65535}},
	} {
		if c.of.Overlaps(from) {
			among = append(among, c.among)
		}
	}
	return among
}

// emit is what clients in the cluster do to a protocol.
func (f *funneling) emit(inner rules.Protocol) (rules.Action, bool) {
	switch {
	case f.inlines(inner):
		return rules.Action{Verb: rules.Funnel, Protocol: rules.TCP, Port: f.port, Inline: true}, true
	case f.takesPushed(inner):
		return rules.Action{Verb: rules.Funnel, Protocol: f.protocol, Port: f.port, SourcePorts: f.outer[inner], Reply: true}, true
	}
	return rules.Action{}, false
}

func onePort(p uint16) rules.PortSet {
	return rules.PortSet{Ranges: []rules.PortRange{{First: p, Last: p}}}
}
