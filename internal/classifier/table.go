// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"math/bits"
	"net/netip"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// Table is a compiled rule set. It does not change and may be shared.
type Table struct {
	rules rules.RuleSet

	// The dimensions: root pages, or unused, and for IPv6 the prefixes with
	// their classes, empty when unused.
	sourcePorts, destinationPorts, innerPorts uint32
	sources4, destinations4                   uint32
	sources6, destinations6                   []PrefixClass
	pages                                     *pages

	// What the classes stand for; see encode.
	stride int
	record []uint64
	blocks []block
}

// Rules returns the rule set in canonical form. The caller must not change it.
func (t *Table) Rules() rules.RuleSet {
	return t.rules
}

// Lookup returns the index of the first rule that matches the packet, or
// false when none does. It is slow: it is there to check the tables, and goes
// through them as the kernel program does.
func (t *Table) Lookup(p rules.Packet) (index int, ok bool) {
	if p.Protocol != rules.TCP && p.Protocol != rules.UDP {
		return 0, false
	}
	found := t.classesOf(p)
	hits := ^uint64(0)
	for _, class := range found {
		hits &= t.summary(class)
	}
	if t.direct() {
		return bits.TrailingZeros64(hits), hits != 0
	}
	for ; hits != 0; hits &= hits - 1 {
		word := bits.TrailingZeros64(hits)
		rules := ^uint64(0)
		for _, class := range found {
			rules &= t.word(class, word)
		}
		if rules != 0 {
			return word*64 + bits.TrailingZeros64(rules), true
		}
	}
	return 0, false
}

// classesOf returns the packet's class in each dimension that is used.
func (t *Table) classesOf(p rules.Packet) []int {
	found := []int{kind(rules.FamilyOf(p.Source), p.Protocol, p.Pushed)}
	if t.destinationPorts != unused {
		found = append(found, t.pages.port(t.destinationPorts, p.DestinationPort))
	}
	if t.sourcePorts != unused {
		found = append(found, t.pages.port(t.sourcePorts, p.SourcePort))
	}
	found = t.addressClass(found, t.destinations4, t.destinations6, p.Destination)
	return t.addressClass(found, t.sources4, t.sources6, p.Source)
}

// addressClass appends the class of an address, if the dimension is used.
func (t *Table) addressClass(found []int, root uint32, list []PrefixClass, a netip.Addr) []int {
	switch {
	case a.Is4() && root != unused:
		return append(found, t.pages.address(root, a))
	case !a.Is4() && len(list) > 0:
		return append(found, longestMatch(list, a))
	}
	return found
}

// PortAllowed reports whether the action of a rule accepts an inner
// destination port. Rules without such a set accept every port.
func (t *Table) PortAllowed(rule int, port uint16) bool {
	if t.innerPorts == unused {
		return true
	}
	class := t.pages.port(t.innerPorts, port)
	word := t.summary(class)
	if !t.direct() {
		word = t.word(class, rule/64)
	}
	return word>>(rule%64)&1 == 1
}
