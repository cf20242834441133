// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"sort"
)

// covers reports whether a matches every packet that b matches. Both are in
// canonical form. It is exact for ports; for addresses it does not see that
// several prefixes together make up another one, and says false then.
func covers(a, b *Rule) bool {
	return a.Protocol == b.Protocol &&
		(a.Family == AnyFamily || a.Family == b.Family) &&
		(!a.Pushed || b.Pushed) &&
		a.DestinationPorts.covers(b.DestinationPorts) &&
		a.SourcePorts.covers(b.SourcePorts) &&
		a.Destination.covers(b.Destination) &&
		a.Source.covers(b.Source)
}

// overlaps reports whether some packet matches both rules, canonical ones. It
// may say true wrongly where covers says false wrongly, else it is exact.
func overlaps(a, b *Rule) bool {
	return a.Protocol == b.Protocol &&
		(a.Family == AnyFamily || b.Family == AnyFamily || a.Family == b.Family) &&
		a.DestinationPorts.overlaps(b.DestinationPorts) &&
		a.SourcePorts.overlaps(b.SourcePorts) &&
		a.Destination.overlaps(b.Destination) &&
		a.Source.overlaps(b.Source)
}

// plain returns the set as ascending ranges without negation, port 0 included.
func (s PortSet) plain() []PortRange {
	if len(s.Ranges) == 0 {
		return []PortRange{{0, 65535}}
	}
	if !s.Not {
		return s.Ranges
	}
	var gaps []PortRange
	next := 0
	for _, r := range s.Ranges {
		if next < int(r.First) {
			gaps = append(gaps, PortRange{uint16(next), r.First - 1})
		}
		next = int(r.Last) + 1
	}
	if next <= 65535 {
		gaps = append(gaps, PortRange{uint16(next), 65535})
	}
	return gaps
}

// covers reports whether the set holds all ports of the other one.
func (s PortSet) covers(other PortSet) bool {
	if len(s.Ranges) == 0 {
		return true
	}
	ranges := s.plain()
	for _, r := range other.plain() {
		for len(ranges) > 0 && ranges[0].Last < r.Last {
			ranges = ranges[1:]
		}
		if len(ranges) == 0 || r.First < ranges[0].First {
			return false
		}
	}
	return true
}

// Overlaps reports whether the ranges have a port in common.
func (r PortRange) Overlaps(other PortRange) bool {
	return r.First <= other.Last && other.First <= r.Last
}

func (s PortSet) overlaps(other PortSet) bool {
	a, b := s.plain(), other.plain()
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].Last < b[0].First:
			a = a[1:]
		case b[0].Last < a[0].First:
			b = b[1:]
		default:
			return true
		}
	}
	return false
}

// covers reports whether the set holds all addresses of the other one; both
// are of one family, or one of them restricts nothing.
func (s AddrSet) covers(other AddrSet) bool {
	switch {
	case len(s.Prefixes) == 0:
		return true
	case len(other.Prefixes) == 0:
		return s.everything()
	case s.Not && other.Not:
		return within(s.Prefixes, other.Prefixes)
	case s.Not:
		return disjoint(s.Prefixes, other.Prefixes)
	case other.Not:
		return s.everything()
	}
	return within(other.Prefixes, s.Prefixes)
}

func (s AddrSet) overlaps(other AddrSet) bool {
	switch {
	case s.nothing() || other.nothing():
		return false
	case len(s.Prefixes) == 0 || len(other.Prefixes) == 0 || s.Not && other.Not:
		return true
	case s.Not:
		return !within(other.Prefixes, s.Prefixes)
	case other.Not:
		return !within(s.Prefixes, other.Prefixes)
	}
	return !disjoint(s.Prefixes, other.Prefixes)
}

// everything and nothing tell sets that hold all addresses of a family, or
// none.
func (s AddrSet) everything() bool {
	return len(s.Prefixes) > 0 && !s.Not && s.Prefixes[0].Bits() == 0
}

func (s AddrSet) nothing() bool {
	return len(s.Prefixes) > 0 && s.Not && s.Prefixes[0].Bits() == 0
}

// within reports whether each inner prefix is contained in an outer one.
// Prefixes are ascending and none contains another, as in a canonical set;
// likewise below.
func within(inner, outer []netip.Prefix) bool {
	for _, p := range inner {
		before, _ := neighbours(outer, p)
		if !before.IsValid() || !containsPrefix(before, p) {
			return false
		}
	}
	return true
}

func disjoint(a, b []netip.Prefix) bool {
	for _, p := range a {
		before, after := neighbours(b, p)
		if before.IsValid() && before.Overlaps(p) || after.IsValid() && after.Overlaps(p) {
			return false
		}
	}
	return true
}

// neighbours returns the last prefix that begins at or below p and the first
// that begins above it; the zero prefix where there is none.
func neighbours(sorted []netip.Prefix, p netip.Prefix) (before, after netip.Prefix) {
	i := sort.Search(len(sorted), func(i int) bool { return p.Addr().Less(sorted[i].Addr()) })
	if i > 0 {
		before = sorted[i-1]
	}
	if i < len(sorted) {
		after = sorted[i]
	}
	return before, after
}
