// SPDX-License-Identifier: Apache-2.0

package rules

import "slices"

// Side is what one end of the way does: the client, or the pods behind the
// Service.
type Side struct {
	Ingress, Egress RuleSet
}

// Port is a port of a protocol.
type Port struct {
	Protocol Protocol
	Number   uint16
}

// PortMap says to which target port a Service's port leads; a port that it
// does not hold leads to itself.
type PortMap map[Port]uint16

// Flow is what one funnel rule sends and what becomes of it on the other side.
type Flow struct {
	// FromBackend tells that the backend's egress sends it, else the client's.
	FromBackend bool
	// Rule is the funnel rule's index in its sender's egress rules.
	Rule int
	// By are the indexes of the receiver's ingress rules that take the packets,
	// ascending, or the nearest one where none does; empty when it unfunnels
	// nothing at all.
	By []int
	// Mismatches say why the flow, or a part of it, is not undone; none when
	// all of it is.
	Mismatches []Mismatch
	// Notes say on what it depends that the rules don't tell.
	Notes []string
}

// Peers compares two valid sides. It returns a flow for each rule that
// funnels, the client's first, in the order of the rules; a rule that is never
// reached sends nothing and has no flow.
//
// A Service between the two translates one address of each packet: its
// destination on the way to the backend, its source on the way back. So that
// address decides nothing; a rule that asks for one gives a note.
func Peers(client, backend Side, services PortMap) []Flow {
	client, backend = client.canonical(), backend.canonical()
	there := way{from: client, to: backend, services: services}
	back := way{from: backend, to: client, services: services, back: true}
	return append(there.flows(), back.flows()...)
}

func (s Side) canonical() Side {
	return Side{Ingress: s.Ingress.Canonical(), Egress: s.Egress.Canonical()}
}

// way is one of the two directions between the sides.
type way struct {
	from, to Side
	services PortMap
	back     bool
}

func (w way) flows() []Flow {
	var flows []Flow
	for i := range w.from.Egress {
		if r, ok := w.from.Egress.reached(i); ok && r.Action.Verb == Funnel {
			flows = append(flows, w.flow(i, &r))
		}
	}
	return flows
}

// reached returns rule i without the destination ports that earlier rules
// take, or false when these leave nothing.
func (rs RuleSet) reached(i int) (Rule, bool) {
	r := rs[i]
	for _, earlier := range rs[:i] {
		ports := earlier.DestinationPorts
		earlier.DestinationPorts = PortSet{}
		if !covers(&earlier, &r) || !ports.overlaps(r.DestinationPorts) {
			continue
		}
		left := r.DestinationPorts.minus(ports)
		if len(left) == 0 {
			return Rule{}, false
		}
		r.DestinationPorts = PortSet{Ranges: left}
	}
	return r, true
}

// flow follows what rule i of the sender sends, r being what is left of it.
func (w way) flow(i int, r *Rule) Flow {
	f := Flow{FromBackend: w.back, Rule: i}
	outer := w.arriving(r)
	for _, ports := range cut(outer.SourcePorts.Ranges, w.to.Ingress) {
		outer.SourcePorts = PortSet{Ranges: []PortRange{ports}}
		w.follow(&f, r, outer)
	}
	slices.Sort(f.By)
	if len(f.Mismatches) == 0 && !r.Action.Inline {
		w.answers(&f, r)
	}
	return f
}

// leastExchanged is the lowest source port that inline exchanges for another.
const leastExchanged = 1024

// arriving is a rule that matches the outer headers as the receiver sees them,
// without the address that the Service translates.
func (w way) arriving(r *Rule) Rule {
	outer := r.outer()
	if r.Action.Inline {
		outer.SourcePorts = PortSet{Ranges: []PortRange{{leastExchanged, 65535}}}
		outer.Pushed = false
	}
	if w.back {
		outer.Source = AddrSet{}
		outer.SourcePorts = w.services.back(outer.Protocol, outer.SourcePorts)
		return outer
	}
	outer.Destination = AddrSet{}
	outer.DestinationPorts = w.services.there(outer.Protocol, r.Action.Port)
	return outer
}

// there is the target port of a Service's port.
func (m PortMap) there(p Protocol, port uint16) PortSet {
	if target, ok := m[Port{p, port}]; ok {
		port = target
	}
	return PortSet{Ranges: []PortRange{{port, port}}}
}

// back is the Service's port of a target port. A range stays as it is: nobody
// answers from one.
func (m PortMap) back(p Protocol, ports PortSet) PortSet {
	for service, target := range m {
		if service.Protocol == p && ports.Ranges[0] == (PortRange{target, target}) {
			return PortSet{Ranges: []PortRange{{service.Number, service.Number}}}
		}
	}
	return ports
}

// cut splits ranges so that each rule asks for all source ports of a piece or
// for none.
func cut(ranges []PortRange, rs RuleSet) []PortRange {
	for _, r := range rs {
		var finer []PortRange
		for _, piece := range ranges {
			whole := PortSet{Ranges: []PortRange{piece}}
			outside := PortSet{Ranges: whole.minus(r.SourcePorts)}
			if len(outside.Ranges) == 0 {
				finer = append(finer, piece)
				continue
			}
			finer = append(append(finer, whole.minus(outside)...), outside.Ranges...)
		}
		ranges = finer
	}
	return ranges
}

// minus returns the ports of the set that are not in the other one.
func (s PortSet) minus(other PortSet) []PortRange {
	var left []PortRange
	for _, r := range s.plain() {
		first := int(r.First)
		for _, o := range other.plain() {
			if int(o.Last) < first || o.First > r.Last {
				continue
			}
			if first < int(o.First) {
				left = append(left, PortRange{uint16(first), o.First - 1})
			}
			first = int(o.Last) + 1
		}
		if first <= int(r.Last) {
			left = append(left, PortRange{uint16(first), r.Last})
		}
	}
	return left
}
