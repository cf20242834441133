// SPDX-License-Identifier: Apache-2.0

package rulestest

import (
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

func host(a netip.Addr) rules.AddrSet {
	return rules.AddrSet{Prefixes: []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}}
}

func onePort(port uint16) rules.PortSet {
	return rules.PortSet{Ranges: []rules.PortRange{{First: port, Last: port}}}
}
