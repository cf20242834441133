// SPDX-License-Identifier: Apache-2.0

package rules

import "testing"

func TestMatch(t *testing.T) {
	const none = -1
	for _, c := range []struct {
		name, rules string
		packet      Packet
		want        int // index of the rule
	}{
		{"no rules", "", tcp("10.0.0.1:1", "10.0.0.2:80"), none},
		{"the first match wins", "udp drop; tcp drop; tcp dport 80 accept", tcp("10.0.0.1:1", "10.0.0.2:80"), 1},
		{"protocol", "udp dport 80 drop", tcp("10.0.0.1:1", "10.0.0.2:80"), none},
		{"another protocol is none of ours", "tcp drop; udp drop", packet(132, "10.0.0.1:1", "10.0.0.2:80"), none},
		{"reply port is left alone", "tcp dport 179 sport 540 unfunnel udp", tcp("10.0.0.1:541", "10.0.0.2:179"), none},
		{"marker", "tcp dport 179 sport 540 unfunnel udp", tcp("10.0.0.1:540", "10.0.0.2:179"), 0},
		{"no family holds for IPv4", "udp dport 53 drop", udp("10.0.0.1:1", "10.0.0.2:53"), 0},
		{"no family holds for IPv6", "udp dport 53 drop", udp("[fd00::1]:1", "[fd00::2]:53"), 0},
		{"ip is IPv4 only", "ip udp dport 53 drop", udp("[fd00::1]:1", "[fd00::2]:53"), none},
		{"ip6 is IPv6 only", "ip6 udp dport 53 drop", udp("10.0.0.1:1", "10.0.0.2:53"), none},
		{"an address is of one family", "daddr != 10.0.0.1 udp drop", udp("[fd00::1]:1", "[fd00::2]:53"), none},
		{"source prefix", "saddr 10.0.0.0/24 tcp drop", tcp("10.0.0.255:1", "10.0.1.0:2"), 0},
		{"beside the source prefix", "saddr 10.0.0.0/24 tcp drop", tcp("10.0.1.0:1", "10.0.0.1:2"), none},
		{"destination set", "daddr { 10.0.0.1, 10.0.0.3 } tcp drop", tcp("10.0.0.2:1", "10.0.0.3:2"), 0},
		{"beside the destination set", "daddr { 10.0.0.1, 10.0.0.3 } tcp drop", tcp("10.0.0.1:1", "10.0.0.2:2"), none},
		{"negated set, inside", "daddr != { 10.0.0.1, 10.0.0.3 } tcp drop", tcp("10.0.0.2:1", "10.0.0.3:2"), none},
		{"negated set, outside", "daddr != { 10.0.0.1, 10.0.0.3 } tcp drop", tcp("10.0.0.1:1", "10.0.0.2:2"), 0},
		{"IPv6 prefix", "daddr fd00::/64 tcp drop", tcp("[fd00::1]:1", "[fd00::ffff]:2"), 0},
		{"first port of a range", "tcp dport 10-20 drop", tcp("10.0.0.1:1", "10.0.0.2:10"), 0},
		{"last port of a range", "tcp dport 10-20 drop", tcp("10.0.0.1:1", "10.0.0.2:20"), 0},
		{"beyond the range", "tcp dport 10-20 drop", tcp("10.0.0.1:1", "10.0.0.2:21"), none},
		{"negated ports", "tcp sport != { 1, 5-9 } drop", tcp("10.0.0.1:4", "10.0.0.2:1"), 0},
		{"negated ports, inside", "tcp sport != { 1, 5-9 } drop", tcp("10.0.0.1:5", "10.0.0.2:1"), none},
		{"all ports but 0", "tcp sport 1-65535 drop", tcp("10.0.0.1:0", "10.0.0.2:1"), none},
		{"any port is also 0", "tcp drop", tcp("10.0.0.1:0", "10.0.0.2:0"), 0},
		{"pushed", "tcp dport 80 pushed unfunnel udp", pushed("10.0.0.1:600", "10.0.0.2:80"), 0},
		{"not pushed", "tcp dport 80 pushed unfunnel udp", tcp("10.0.0.1:600", "10.0.0.2:80"), none},
		{"a rule without pushed holds for both", "tcp dport 80 drop", pushed("10.0.0.1:600", "10.0.0.2:80"), 0},
		{"inner ports are no part of the match", "tcp dport 80 unfunnel udp dport 53", tcp("10.0.0.1:600", "10.0.0.2:80"), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := mustParse(t, c.rules).Match(c.packet)
			if !ok {
				got = none
			}
			if got != c.want {
				t.Errorf("rule %d, want %d", got, c.want)
			}
		})
	}
}

// Rules that Go code builds may leave the family to their addresses.
func TestAddressesAreOfTheirFamilyOnly(t *testing.T) {
	six := tcp("[fd00::1]:1", "[fd00::2]:2")
	r := mustParse(t, "daddr != 10.0.0.1 tcp drop")[0]
	r.Family = AnyFamily
	if r.Matches(six) {
		t.Errorf("%v matches %v", r, six)
	}
}
