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

// addressesOf is a field of a rule.
type addressesOf func(*rules.Rule) *rules.AddrSet

// compilePrefixes returns every prefix within everything that some rule names,
// and everything itself, with their classes, wider prefixes before those that
// they contain. It returns nothing when no rule names one.
//
// A set of the other family counts as satisfied: the packet's kind tells such a
// rule from its own.
func (c *compiler) compilePrefixes(everything netip.Prefix, rs rules.RuleSet, of addressesOf) ([]PrefixClass, error) {
	named := memberships(everything, rs, of)
	if len(named) == 0 {
		return nil, nil
	}
	out := make([]PrefixClass, 0, len(named)+1)
	satisfied := outside(everything, rs, of)
	var around []enclosing
	for prefix := everything; ; prefix = named[0].prefix {
		for last := len(around) - 1; last >= 0 && !contains(around[last].prefix, prefix); last-- {
			around[last].change(satisfied) // back
			around = around[:last]
		}
		n := 0
		for n < len(named) && named[n].prefix == prefix {
			n++
		}
		within := enclosing{prefix, named[:n]}
		within.change(satisfied)
		class, err := c.classes.number(satisfied)
		if err != nil {
			return nil, err
		}
		out = append(out, PrefixClass{prefix, class})
		around = append(around, within)
		if named = named[n:]; len(named) == 0 {
			return out, nil
		}
	}
}

// enclosing is a prefix around the one in hand, with the rules that name it.
type enclosing struct {
	prefix netip.Prefix
	named  []membership
}

// change goes into the prefix, or out of it: for the rules that name it the answer
// is the other one.
func (e enclosing) change(satisfied *bitmap) {
	for _, m := range e.named {
		satisfied.flip(m.rule)
	}
}

// membership is a rule that names a prefix.
type membership struct {
	prefix netip.Prefix
	rule   int
}

// memberships are sorted by prefix, containing ones first.
func memberships(everything netip.Prefix, rs rules.RuleSet, of addressesOf) []membership {
	most := 0
	for i := range rs {
		most += len(of(&rs[i]).Prefixes)
	}
	found := make([]membership, 0, most)
	for i := range rs {
		for _, p := range of(&rs[i]).Prefixes {
			if contains(everything, p) {
				found = append(found, membership{p, i})
			}
		}
	}
	slices.SortFunc(found, func(a, b membership) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
	})
	return found
}

// outside is the set of rules that are satisfied by an address in no prefix
// that any rule names.
func outside(everything netip.Prefix, rs rules.RuleSet, of addressesOf) *bitmap {
	b := newBitmap(len(rs))
	for i := range rs {
		if s := of(&rs[i]); len(s.Prefixes) == 0 || s.Not || !contains(everything, s.Prefixes[0]) {
			b.flip(i)
		}
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
