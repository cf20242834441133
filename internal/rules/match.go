// SPDX-License-Identifier: Apache-2.0

package rules

import "net/netip"

// Match returns the index of the first rule that matches the packet, or false
// when none does. It is the definition of the language: plain, in the order
// of the rules, and meant to be read.
func (rs RuleSet) Match(p Packet) (index int, ok bool) {
	for i, r := range rs {
		if r.Matches(p) {
			return i, true
		}
	}
	return 0, false
}

// Matches reports whether the packet has all that the rule asks for.
func (r Rule) Matches(p Packet) bool {
	return (r.Family == AnyFamily || r.Family == FamilyOf(p.Source)) &&
		r.Protocol == p.Protocol &&
		r.Source.Contains(p.Source) &&
		r.Destination.Contains(p.Destination) &&
		r.SourcePorts.Contains(p.SourcePort) &&
		r.DestinationPorts.Contains(p.DestinationPort) &&
		(!r.Pushed || p.Pushed)
}

// Contains reports whether the set holds the address. A set without prefixes
// holds every address of both families. A negated set is the rest of its own
// family: it holds no address of the other one.
func (s AddrSet) Contains(a netip.Addr) bool {
	if len(s.Prefixes) == 0 {
		return true
	}
	if FamilyOf(a) != FamilyOf(s.Prefixes[0].Addr()) {
		return false
	}
	for _, p := range s.Prefixes {
		if p.Contains(a) {
			return !s.Not
		}
	}
	return s.Not
}

// Contains reports whether the set holds the port. A set without ranges holds
// every port.
func (s PortSet) Contains(port uint16) bool {
	if len(s.Ranges) == 0 {
		return true
	}
	for _, r := range s.Ranges {
		if r.First <= port && port <= r.Last {
			return !s.Not
		}
	}
	return s.Not
}
