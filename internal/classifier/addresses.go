// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// PrefixClass is the class of the addresses whose longest match in a list is
// Prefix.
type PrefixClass struct {
	Prefix netip.Prefix
	Class  uint16
}

// everything4 and everything6 hold all addresses of a family; a list begins
// with one of them, so that every address has a match.
var (
	everything4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	everything6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

// compilePrefixes returns every prefix within everything that some rule names,
// and everything itself, with their classes, wider prefixes before those that
// they contain. It returns nothing when no rule names one.
//
// A set of the other family counts as satisfied: the packet's kind tells such a
// rule from its own.
func (c *compiler) compilePrefixes(everything netip.Prefix, sets []rules.AddrSet) ([]PrefixClass, error) {
	members := memberships(everything, sets)
	if len(members) == 0 {
		return nil, nil
	}
	var out []PrefixClass
	around := []enclosing{{everything, outside(everything, sets)}}
	for _, prefix := range sortedPrefixes(everything, members) {
		for !contains(around[len(around)-1].prefix, prefix) {
			around = around[:len(around)-1]
		}
		satisfied := slices.Clone(around[len(around)-1].satisfied)
		for _, m := range members[prefix] {
			satisfied.set(m.rule, m.on)
		}
		class, err := c.class(satisfied)
		if err != nil {
			return nil, err
		}
		out = append(out, PrefixClass{prefix, class})
		around = append(around, enclosing{prefix, satisfied})
	}
	return out, nil
}

// enclosing is a prefix around the one in hand, and the rules that its
// addresses satisfy.
type enclosing struct {
	prefix    netip.Prefix
	satisfied bitmap
}

// membership is a rule that names a prefix, and what that makes of its
// addresses.
type membership struct {
	rule int
	on   bool
}

func memberships(everything netip.Prefix, sets []rules.AddrSet) map[netip.Prefix][]membership {
	members := map[netip.Prefix][]membership{}
	for i, s := range sets {
		for _, p := range s.Prefixes {
			if contains(everything, p) {
				members[p] = append(members[p], membership{i, !s.Not})
			}
		}
	}
	return members
}

// sortedPrefixes returns everything and all members, containing ones first.
func sortedPrefixes(everything netip.Prefix, members map[netip.Prefix][]membership) []netip.Prefix {
	sorted := []netip.Prefix{everything}
	for p := range members {
		if p != everything {
			sorted = append(sorted, p)
		}
	}
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return sorted
}

// outside is the set of rules that are satisfied by an address in no prefix
// that any rule names.
func outside(everything netip.Prefix, sets []rules.AddrSet) bitmap {
	b := newBitmap(len(sets))
	for i, s := range sets {
		b.set(i, len(s.Prefixes) == 0 || s.Not || !contains(everything, s.Prefixes[0]))
	}
	return b
}

func contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// longestMatch returns the class of the longest prefix of a list that contains
// the address. It stands for the kernel's trie.
func longestMatch(list []PrefixClass, a netip.Addr) int {
	class, bits := 0, -1
	for _, p := range list {
		if p.Prefix.Bits() > bits && p.Prefix.Contains(a) {
			class, bits = int(p.Class), p.Prefix.Bits()
		}
	}
	return class
}
