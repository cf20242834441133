// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"math/bits"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// Table is a compiled rule set. It does not change and may be shared.
type Table struct {
	rules rules.RuleSet

	// The dimensions: root pages of the port tables, or unused, and the
	// prefixes with their classes, empty when unused.
	sourcePorts, destinationPorts, innerPorts uint32
	sources, destinations                     []PrefixClass
	pages                                     pages

	// What the classes stand for; see encode.
	stride int
	record []uint64
	blocks []uint64
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
		found = append(found, t.pages.class(t.destinationPorts, p.DestinationPort))
	}
	if t.sourcePorts != unused {
		found = append(found, t.pages.class(t.sourcePorts, p.SourcePort))
	}
	if len(t.destinations) > 0 {
		found = append(found, newLongestMatch(t.destinations).class(p.Destination))
	}
	if len(t.sources) > 0 {
		found = append(found, newLongestMatch(t.sources).class(p.Source))
	}
	return found
}

// PortAllowed reports whether the action of a rule accepts an inner
// destination port. Rules without such a set accept every port.
func (t *Table) PortAllowed(rule int, port uint16) bool {
	if t.innerPorts == unused {
		return true
	}
	class := t.pages.class(t.innerPorts, port)
	word := t.summary(class)
	if !t.direct() {
		word = t.word(class, rule/64)
	}
	return word>>(rule%64)&1 == 1
}
