// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"fmt"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// compiler gathers what the dimensions of one table share.
type compiler struct {
	classes classes
	pages   pages
}

// Compile builds the tables of a rule set. It fails with rules.RuleErrors when
// the rule set is not valid and with a *LimitError when it is too large.
func Compile(rs rules.RuleSet) (*Table, error) {
	if len(rs) > MaxRules {
		return nil, &LimitError{Limit: MaxRules, Wanted: len(rs), What: "rules"}
	}
	if err := rs.Validate(); err != nil {
		return nil, err
	}
	rs = rs.Canonical()
	c := compiler{
		classes: classes{numbers: map[string]int{}},
		pages:   pages{numbers: map[string]int{}},
	}
	c.compileKinds(rs)
	t := &Table{rules: rs}
	if err := c.compileDimensions(t); err != nil {
		return nil, err
	}
	t.pages = c.pages
	return t, t.encode(c.classes.bitmaps)
}

func (c *compiler) compileDimensions(t *Table) (err error) {
	rs := t.rules
	if t.sourcePorts, err = c.compilePorts(each(rs, func(r rules.Rule) rules.PortSet { return r.SourcePorts })); err != nil {
		return fmt.Errorf("source ports: %w", err)
	}
	if t.destinationPorts, err = c.compilePorts(each(rs, func(r rules.Rule) rules.PortSet { return r.DestinationPorts })); err != nil {
		return fmt.Errorf("destination ports: %w", err)
	}
	if t.innerPorts, err = c.compilePorts(each(rs, func(r rules.Rule) rules.PortSet { return r.Action.Ports })); err != nil {
		return fmt.Errorf("inner ports: %w", err)
	}
	if t.sources, err = c.compilePrefixes(each(rs, func(r rules.Rule) rules.AddrSet { return r.Source })); err != nil {
		return fmt.Errorf("source addresses: %w", err)
	}
	if t.destinations, err = c.compilePrefixes(each(rs, func(r rules.Rule) rules.AddrSet { return r.Destination })); err != nil {
		return fmt.Errorf("destination addresses: %w", err)
	}
	return nil
}

func each[T any](rs rules.RuleSet, field func(rules.Rule) T) []T {
	out := make([]T, len(rs))
	for i, r := range rs {
		out[i] = field(r)
	}
	return out
}

// class returns the number of a set of rules.
func (c *compiler) class(b bitmap) (uint16, error) {
	n := c.classes.number(b)
	if n > maxNumber {
		return 0, &LimitError{Limit: maxNumber + 1, Wanted: n + 1, What: "different sets of rules that ports and addresses satisfy"}
	}
	return uint16(n), nil
}

// kinds is the number of kinds of packets; see kind.
const kinds = 8

// kind is the class of what a packet is: bit 0 UDP, bit 1 pushed, bit 2 IPv6.
func kind(family rules.Family, protocol rules.Protocol, pushed bool) int {
	k := 0
	if protocol == rules.UDP {
		k |= 1
	}
	if pushed {
		k |= 2
	}
	if family == rules.IPv6 {
		k |= 4
	}
	return k
}

// compileKinds gives the kinds the classes 0 to 7, so that they need no table.
func (c *compiler) compileKinds(rs rules.RuleSet) {
	for k := range kinds {
		b := newBitmap(len(rs))
		for i, r := range rs {
			b.set(i, ofKind(r, k))
		}
		c.classes.append(b, string(words(b)))
	}
}

func ofKind(r rules.Rule, k int) bool {
	for _, family := range []rules.Family{rules.IPv4, rules.IPv6} {
		for _, pushed := range []bool{false, true} {
			if kind(family, r.Protocol, pushed) == k {
				return (r.Family == rules.AnyFamily || r.Family == family) && (pushed || !r.Pushed)
			}
		}
	}
	return false
}
