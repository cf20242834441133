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
	Class  uint32
}

// everything holds all addresses of a family; every list begins with these
// two, so that each address has a match.
var everything = []netip.Prefix{
	netip.PrefixFrom(netip.IPv4Unspecified(), 0),
	netip.PrefixFrom(netip.IPv6Unspecified(), 0),
}

// membership is a rule that names a prefix, and what that makes of its
// addresses.
type membership struct {
	rule int
	on   bool
}

// compilePrefixes returns every prefix that some rule names with its class,
// wider prefixes before those that they contain; nothing when no set
// restricts anything.
func (c *compiler) compilePrefixes(sets []rules.AddrSet) ([]PrefixClass, error) {
	members := memberships(sets)
	if len(members) == 0 {
		return nil, nil
	}
	type open struct {
		prefix netip.Prefix
		rules  bitmap
	}
	var out []PrefixClass
	var around []open // the prefixes that contain the current one
	for _, prefix := range sortedPrefixes(members) {
		for len(around) > 0 && !contains(around[len(around)-1].prefix, prefix) {
			around = around[:len(around)-1]
		}
		satisfied := c.outside(sets, prefix)
		if len(around) > 0 {
			satisfied = slices.Clone(around[len(around)-1].rules)
		}
		for _, m := range members[prefix] {
			satisfied.set(m.rule, m.on)
		}
		class, err := c.class(satisfied)
		if err != nil {
			return nil, err
		}
		out = append(out, PrefixClass{prefix, uint32(class)})
		around = append(around, open{prefix, satisfied})
	}
	return out, nil
}

func memberships(sets []rules.AddrSet) map[netip.Prefix][]membership {
	members := map[netip.Prefix][]membership{}
	for i, s := range sets {
		for _, p := range s.Prefixes {
			members[p] = append(members[p], membership{i, !s.Not})
		}
	}
	return members
}

// sortedPrefixes returns the prefixes of all rules and everything, containing
// ones first.
func sortedPrefixes(members map[netip.Prefix][]membership) []netip.Prefix {
	sorted := slices.Clone(everything)
	for p := range members {
		if p.Bits() > 0 {
			sorted = append(sorted, p)
		}
	}
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return sorted
}

// outside is the set of rules that an address of this family satisfies when
// no rule names a prefix around it.
func (c *compiler) outside(sets []rules.AddrSet, prefix netip.Prefix) bitmap {
	b := newBitmap(len(sets))
	for i, s := range sets {
		sameFamily := len(s.Prefixes) > 0 && s.Prefixes[0].Addr().Is4() == prefix.Addr().Is4()
		b.set(i, len(s.Prefixes) == 0 || sameFamily && s.Not)
	}
	return b
}

func contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// longestMatch gives prefixes their class. It stands for the kernel's trie.
type longestMatch map[netip.Prefix]uint32

func newLongestMatch(list []PrefixClass) longestMatch {
	m := longestMatch{}
	for _, p := range list {
		m[p.Prefix] = p.Class
	}
	return m
}

// class returns the class of the longest prefix that contains the address.
func (m longestMatch) class(a netip.Addr) int {
	for bits := a.BitLen(); bits >= 0; bits-- {
		prefix, _ := a.Prefix(bits)
		if class, ok := m[prefix]; ok {
			return int(class)
		}
	}
	return 0
}
