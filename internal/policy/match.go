// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// familyMatch is what of a match differs between the IP families.
type familyMatch struct {
	family              rules.Family
	source, destination rules.AddrSet
}

// match fills in what both families share and returns the families for which
// there is a rule.
func (c *compiler) match(path *field.Path, m *v1alpha1.Match, into *rules.Rule) []familyMatch {
	into.Protocol = c.protocol(path.Child("protocol"), m.Protocol)
	into.SourcePorts = c.ports(path.Child("sourcePorts"), m.SourcePorts)
	into.DestinationPorts = c.ports(path.Child("destinationPorts"), m.DestinationPorts)
	into.Pushed = m.Pushed
	if m.Pushed && m.Protocol == v1alpha1.UDP {
		c.fail(field.Forbidden(path.Child("pushed"), "a UDP header has no room for the marks of a pushed one: use protocol TCP, or tell pushed packets apart by sourcePorts"))
	}
	before := len(c.errs) + len(c.program.Unresolved)
	family := c.family(path.Child("family"), m.Family)
	source := c.peer(path.Child("source"), m.Source, m.Family)
	destination := c.peer(path.Child("destination"), m.Destination, m.Family)
	if len(c.errs)+len(c.program.Unresolved) > before {
		return nil
	}
	found := families(family, source, destination)
	if len(found) == 0 {
		c.noCommonFamily(path, m)
	}
	return found
}

func (c *compiler) family(path *field.Path, f v1alpha1.IPFamily) rules.Family {
	switch f {
	case "":
		return rules.AnyFamily
	case v1alpha1.IPv4:
		return rules.IPv4
	case v1alpha1.IPv6:
		return rules.IPv6
	}
	c.fail(field.NotSupported(path, f, []v1alpha1.IPFamily{v1alpha1.IPv4, v1alpha1.IPv6}))
	return rules.AnyFamily
}

// families divides a match by IP family, IPv4 first. Without addresses there is
// nothing to divide.
func families(wanted rules.Family, source, destination *addresses) []familyMatch {
	if source == nil && destination == nil {
		return []familyMatch{{family: wanted}}
	}
	var found []familyMatch
	for _, f := range []rules.Family{rules.IPv4, rules.IPv6} {
		if (wanted == rules.AnyFamily || wanted == f) && source.has(f) && destination.has(f) {
			found = append(found, familyMatch{f, source.of(f), destination.of(f)})
		}
	}
	return found
}

// noCommonFamily reports a match that no packet can fulfil.
func (c *compiler) noCommonFamily(path *field.Path, m *v1alpha1.Match) {
	if !namesService(*m) {
		c.fail(field.Invalid(path, describe(m), "the addresses of source and destination have no IP family in common, so that no packet matches"))
		return
	}
	c.program.Unresolved = append(c.program.Unresolved, Unresolved{
		Reason:  v1alpha1.ReasonAddressPending,
		Message: fmt.Sprintf("%s: the Service has no address of the IP family that the rest of the match is about", path),
	})
}

func describe(m *v1alpha1.Match) string {
	return fmt.Sprintf("source %v, destination %v", m.Source.CIDRs, m.Destination.CIDRs)
}

func (c *compiler) protocol(path *field.Path, p v1alpha1.Protocol) rules.Protocol {
	switch p {
	case v1alpha1.TCP:
		return rules.TCP
	case v1alpha1.UDP:
		return rules.UDP
	}
	c.fail(field.NotSupported(path, p, []v1alpha1.Protocol{v1alpha1.TCP, v1alpha1.UDP}))
	return rules.TCP
}

func (c *compiler) ports(path *field.Path, p *v1alpha1.Ports) rules.PortSet {
	if p == nil {
		return rules.PortSet{}
	}
	if len(p.Values) == 0 {
		c.fail(field.Required(path.Child("values"), "write at least one port, or leave "+path.String()+" out for all ports"))
	}
	set := rules.PortSet{Not: p.Not}
	for i, v := range p.Values {
		set.Ranges = append(set.Ranges, c.portRange(path.Child("values").Index(i), v))
	}
	return set
}

func (c *compiler) portRange(path *field.Path, p v1alpha1.PortRange) rules.PortRange {
	r, fault := parsePortRange(string(p))
	if fault != "" {
		c.fail(field.Invalid(path, p, fault))
	}
	return r
}

// wantedFamily tells whether a match that asks for family f can use an
// address of family of.
func wantedFamily(f v1alpha1.IPFamily, of rules.Family) bool {
	return slices.Contains([]v1alpha1.IPFamily{"", familyName(of)}, f)
}

func familyName(f rules.Family) v1alpha1.IPFamily {
	if f == rules.IPv4 {
		return v1alpha1.IPv4
	}
	return v1alpha1.IPv6
}
