// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// markerClash tells of two rules that give one outer header two meanings: the
// inner protocol can't be told from it then.
func markerClash(mine, theirs rules.RuleSet) string {
	for _, a := range markersOf(mine) {
		for _, b := range markersOf(theirs) {
			if a.inner != b.inner && a.overlaps(b) {
				return fmt.Sprintf("%q shares its marker with its %q, which carries another protocol", a.rule, b.rule)
			}
		}
	}
	return ""
}

// marker is the outer header by which a rule's packets are recognised.
type marker struct {
	rule  rules.Rule
	inner rules.Protocol
	outer rules.Rule // only its match is meant
}

func markersOf(rs rules.RuleSet) []marker {
	var markers []marker
	for _, r := range rs {
		switch r.Action.Verb {
		case rules.Funnel:
			markers = append(markers, marker{r, r.Protocol, outerOf(r)})
		case rules.Unfunnel:
			markers = append(markers, marker{r, r.Action.Protocol, r})
		}
	}
	return markers
}

// outerOf matches the packets that a funnel rule makes. An inline one is told
// from others by the receiver's state, not by source ports.
func outerOf(r rules.Rule) rules.Rule {
	outer := rules.Rule{
		Family: r.Family, Source: r.Source, Destination: r.Destination, Protocol: r.Action.Protocol,
		DestinationPorts: rules.PortSet{Ranges: []rules.PortRange{{First: r.Action.Port, Last: r.Action.Port}}},
	}
	if !r.Action.Inline {
		outer.SourcePorts.Ranges = []rules.PortRange{r.Action.SourcePorts}
	}
	return outer
}

// overlaps reports whether one packet can carry both markers. Funnels and
// unfunnels are never about the same packet: what one makes, the other side
// undoes.
func (m marker) overlaps(o marker) bool {
	a, b := m.outer, o.outer
	return m.rule.Action.Verb == o.rule.Action.Verb &&
		m.rule.Action.Inline == o.rule.Action.Inline &&
		a.Protocol == b.Protocol &&
		portsMeet(a.DestinationPorts, b.DestinationPorts) &&
		portsMeet(a.SourcePorts, b.SourcePorts) &&
		(a.Family == rules.AnyFamily || b.Family == rules.AnyFamily || a.Family == b.Family) &&
		addressesMeet(a.Source, b.Source) &&
		addressesMeet(a.Destination, b.Destination)
}
