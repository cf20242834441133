// SPDX-License-Identifier: Apache-2.0

package rulestest

import (
	"math/rand/v2"
	"net/netip"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// Distinct returns n rules that differ in all addresses and ports: what a
// client of many Services has, and more. They don't overlap.
func Distinct(n int) rules.RuleSet {
	rs := make(rules.RuleSet, n)
	for i := range rs {
		p := DistinctPacket(i)
		rs[i] = rules.Rule{
			Family:           rules.IPv4,
			Source:           host(p.Source),
			Destination:      host(p.Destination),
			Protocol:         p.Protocol,
			SourcePorts:      onePort(p.SourcePort),
			DestinationPorts: onePort(p.DestinationPort),
			Action: rules.Action{
				Verb:        rules.Funnel,
				Protocol:    rules.TCP,
				Port:        179,
				SourcePorts: rules.PortRange{First: 540, Last: 540},
			},
		}
	}
	return rs
}

// DistinctPacket returns a packet that rule i of Distinct matches, i below
// rules.MaxRules.
func DistinctPacket(i int) rules.Packet {
	return rules.Packet{
		Source:          netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}),
		Destination:     netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}),
		Protocol:        rules.UDP,
		SourcePort:      uint16(10000 + i),
		DestinationPort: uint16(2000 + 5*i),
	}
}

// Narrow returns n valid rules in canonical form that match little each, so
// that packets reach all of them: Distinct in any order, with conditions left
// out or widened here and there, in both families and protocols.
func Narrow(rng *rand.Rand, n int) rules.RuleSet {
	rs := Distinct(n)
	rng.Shuffle(n, func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
	for i := range rs {
		narrow(rng, &rs[i])
	}
	return rs.Canonical()
}

func narrow(rng *rand.Rand, r *rules.Rule) {
	r.Protocol = pick(rng, rules.TCP, rules.UDP)
	if oneIn(rng, 2) {
		r.Source = rules.AddrSet{}
	}
	if !oneIn(rng, 4) {
		r.SourcePorts = rules.PortSet{}
	}
	if oneIn(rng, 8) {
		r.DestinationPorts.Ranges[0].Last += uint16(rng.IntN(40))
	}
	if oneIn(rng, 3) {
		r.Family = rules.IPv6
		r.Source, r.Destination = toIPv6(r.Source), toIPv6(r.Destination)
	}
	if oneIn(rng, 2) {
		r.Action = rules.Action{Verb: rules.Unfunnel, Protocol: rules.UDP, Ports: r.DestinationPorts}
	}
}

// toIPv6 puts the IPv4 addresses of a set behind fd00::.
func toIPv6(s rules.AddrSet) rules.AddrSet {
	var out rules.AddrSet
	for _, p := range s.Prefixes {
		a := [16]byte{0: 0xfd}
		copy(a[12:], p.Addr().AsSlice())
		out.Prefixes = append(out.Prefixes, netip.PrefixFrom(netip.AddrFrom16(a), 96+p.Bits()))
	}
	return out
}

func host(a netip.Addr) rules.AddrSet {
	return rules.AddrSet{Prefixes: []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}}
}

func onePort(port uint16) rules.PortSet {
	return rules.PortSet{Ranges: []rules.PortRange{{First: port, Last: port}}}
}
