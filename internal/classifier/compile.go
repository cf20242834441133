// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"fmt"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// compiler gathers what the dimensions of one table share.
type compiler struct {
	classes *classes
	pages   *pages
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
	c := compiler{classes: newClasses(len(rs)), pages: newPages()}
	if err := c.compileKinds(rs); err != nil {
		return nil, err
	}
	t := &Table{rules: rs, pages: c.pages}
	if err := c.compilePortDimensions(t); err != nil {
		return nil, err
	}
	if err := c.compileAddressDimensions(t); err != nil {
		return nil, err
	}
	if n := c.pages.count(); n > maxNumber+1 {
		return nil, &LimitError{Limit: maxNumber + 1, Wanted: n, What: "pages of ports and IPv4 addresses"}
	}
	t.encode(c.classes)
	return t, nil
}

func (c *compiler) compilePortDimensions(t *Table) (err error) {
	if t.sourcePorts, err = c.compilePorts(t.rules, func(r *rules.Rule) *rules.PortSet { return &r.SourcePorts }); err != nil {
		return fmt.Errorf("source ports: %w", err)
	}
	if t.destinationPorts, err = c.compilePorts(t.rules, func(r *rules.Rule) *rules.PortSet { return &r.DestinationPorts }); err != nil {
		return fmt.Errorf("destination ports: %w", err)
	}
	if t.innerPorts, err = c.compilePorts(t.rules, func(r *rules.Rule) *rules.PortSet { return &r.Action.Ports }); err != nil {
		return fmt.Errorf("inner ports: %w", err)
	}
	return nil
}

func (c *compiler) compileAddressDimensions(t *Table) (err error) {
	sources := func(r *rules.Rule) *rules.AddrSet { return &r.Source }
	destinations := func(r *rules.Rule) *rules.AddrSet { return &r.Destination }
	if t.sources4, t.sources6, err = c.compileAddresses(t.rules, sources); err != nil {
		return fmt.Errorf("source addresses: %w", err)
	}
	if t.destinations4, t.destinations6, err = c.compileAddresses(t.rules, destinations); err != nil {
		return fmt.Errorf("destination addresses: %w", err)
	}
	return nil
}

// compileAddresses returns the root page for IPv4 and the prefixes for IPv6.
func (c *compiler) compileAddresses(rs rules.RuleSet, of addressesOf) (uint32, []PrefixClass, error) {
	list4, err := c.compilePrefixes(everything4, rs, of)
	if err != nil {
		return 0, nil, err
	}
	list6, err := c.compilePrefixes(everything6, rs, of)
	return c.pages.addPrefixes(list4), list6, err
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
func (c *compiler) compileKinds(rs rules.RuleSet) error {
	for k := range kinds {
		b := newBitmap(len(rs))
		for i := range rs {
			if ofKind(&rs[i], k) {
				b.flip(i)
			}
		}
		if _, err := c.classes.append(b); err != nil {
			return err
		}
	}
	return nil
}

func ofKind(r *rules.Rule, k int) bool {
	for _, family := range []rules.Family{rules.IPv4, rules.IPv6} {
		for _, pushed := range []bool{false, true} {
			if kind(family, r.Protocol, pushed) == k {
				return (r.Family == rules.AnyFamily || r.Family == family) && (pushed || !r.Pushed)
			}
		}
	}
	return false
}
