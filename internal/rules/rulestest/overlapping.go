// SPDX-License-Identifier: Apache-2.0

package rulestest

import (
	"net/netip"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// Overlapping returns n rules, each of which overlaps most others, the narrower ones
// first: port ranges that lie in one another, prefixes of every length that do in many
// ways, of both families. It is the most that tables have to hold of so many rules.
func Overlapping(n int) rules.RuleSet {
	rs := make(rules.RuleSet, n)
	for i := range rs {
		r := &rs[i]
		r.Protocol = rules.TCP
		r.SourcePorts, r.DestinationPorts = around(20000, i), around(30000, i)
		r.Action.Verb = rules.Drop
		if i%2 == 0 {
			r.Family = rules.IPv4
			r.Source = within([]byte{10, byte(i >> 9), byte(i >> 1), byte(i)}, 8+(n-i)%25)
			r.Destination = within([]byte{10, 96, byte(i >> 8), byte(i >> 4)}, 8+24*(n-1-i)/n)
			continue
		}
		r.Family = rules.IPv6
		address := make([]byte, 16)
		address[0], address[1], address[5], address[15] = 0xfd, byte(i>>8), byte(i), byte(i)
		r.Source, r.Destination = within(address, 8+(n-i)%121), within(address, 8+120*(n-1-i)/n)
	}
	return rs.Canonical()
}

// around is a range of ports that reaches so far to both sides.
func around(port, reach int) rules.PortSet {
	return rules.PortSet{Ranges: []rules.PortRange{{First: uint16(port - reach), Last: uint16(port + reach)}}}
}

func within(address []byte, length int) rules.AddrSet {
	a, _ := netip.AddrFromSlice(address)
	return rules.AddrSet{Prefixes: []netip.Prefix{netip.PrefixFrom(a, length).Masked()}}
}
