// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"net/netip"
	"slices"
)

// Canonical returns the rule set with every rule in canonical form: itself if it is
// so already.
func (rs RuleSet) Canonical() RuleSet {
	if len(rs) == 0 {
		return nil
	}
	if rs.isCanonical() {
		return slices.Clip(rs)
	}
	out := make(RuleSet, len(rs))
	for i, r := range rs {
		out[i] = r.Canonical()
	}
	return out
}

func (rs RuleSet) isCanonical() bool {
	for i := range rs {
		if !rs[i].isCanonical() {
			return false
		}
	}
	return true
}

func (r *Rule) isCanonical() bool {
	return r.Source.isCanonical() && r.Destination.isCanonical() && r.SourcePorts.isCanonical() &&
		r.DestinationPorts.isCanonical() && r.Action.Ports.isCanonical() &&
		(r.Family != AnyFamily || r.addressFamily() == AnyFamily)
}

// Canonical returns the one form of the rule in which Parse gives it and
// String prints it. It matches the same packets. The rule itself stays as it
// is; sets that are canonical already are shared with it.
func (r Rule) Canonical() Rule {
	r.Source = r.Source.canonical()
	r.Destination = r.Destination.canonical()
	r.SourcePorts = r.SourcePorts.canonical()
	r.DestinationPorts = r.DestinationPorts.canonical()
	r.Action.Ports = r.Action.Ports.canonical()
	if r.Family == AnyFamily {
		r.Family = r.addressFamily()
	}
	return r
}

// addressFamily is the family of the rule's addresses, AnyFamily when it
// names none.
func (r *Rule) addressFamily() Family {
	for _, set := range []*AddrSet{&r.Source, &r.Destination} {
		if len(set.Prefixes) > 0 {
			return FamilyOf(set.Prefixes[0].Addr())
		}
	}
	return AnyFamily
}

// canonical masks host bits, sorts, and drops what another prefix contains.
func (s AddrSet) canonical() AddrSet {
	if s.isCanonical() {
		return AddrSet{Prefixes: slices.Clip(s.Prefixes), Not: s.Not}
	}
	sorted := make([]netip.Prefix, len(s.Prefixes))
	for i, p := range s.Prefixes {
		sorted[i] = p.Masked()
	}
	slices.SortFunc(sorted, comparePrefixes)
	var kept []netip.Prefix
	for _, p := range sorted {
		if len(kept) == 0 || !containsPrefix(kept[len(kept)-1], p) {
			kept = append(kept, p)
		}
	}
	return AddrSet{Prefixes: kept, Not: s.Not}
}

func (s AddrSet) isCanonical() bool {
	for i, p := range s.Prefixes {
		if p != p.Masked() {
			return false
		}
		if i > 0 && (comparePrefixes(s.Prefixes[i-1], p) >= 0 || containsPrefix(s.Prefixes[i-1], p)) {
			return false
		}
	}
	return s.Prefixes == nil || len(s.Prefixes) > 0
}

// comparePrefixes orders by address, the wider prefix first.
func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// containsPrefix reports whether all addresses of inner are in outer.
func containsPrefix(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// canonical sorts the ranges and joins those that overlap or touch.
func (s PortSet) canonical() PortSet {
	if s.isCanonical() {
		return PortSet{Ranges: slices.Clip(s.Ranges), Not: s.Not}
	}
	sorted := slices.Clone(s.Ranges)
	slices.SortFunc(sorted, func(a, b PortRange) int { return cmp.Compare(a.First, b.First) })
	var joined []PortRange
	for _, r := range sorted {
		last := len(joined) - 1
		if last < 0 || uint32(r.First) > uint32(joined[last].Last)+1 {
			joined = append(joined, r)
			continue
		}
		joined[last].Last = max(joined[last].Last, r.Last)
	}
	return PortSet{Ranges: joined, Not: s.Not}
}

func (s PortSet) isCanonical() bool {
	for i := 1; i < len(s.Ranges); i++ {
		before, r := s.Ranges[i-1], s.Ranges[i]
		if r.First <= before.First || uint32(r.First) <= uint32(before.Last)+1 {
			return false
		}
	}
	return s.Ranges == nil || len(s.Ranges) > 0
}
