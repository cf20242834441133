// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"strings"
	"testing"
)

// tcp, udp and pushed make packets: tcp("10.0.0.1:5", "10.0.0.2:80").
func tcp(source, destination string) Packet { return packet(TCP, source, destination) }
func udp(source, destination string) Packet { return packet(UDP, source, destination) }

func pushed(source, destination string) Packet {
	p := tcp(source, destination)
	p.Pushed = true
	return p
}

func packet(protocol Protocol, source, destination string) Packet {
	s, d := netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)
	return Packet{
		Source: s.Addr(), Destination: d.Addr(), Protocol: protocol,
		SourcePort: s.Port(), DestinationPort: d.Port(),
	}
}

func mustParse(t testing.TB, text string) RuleSet {
	t.Helper()
	rs, err := Parse(text)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return rs
}

func lines(text ...string) string {
	return strings.Join(text, "\n") + "\n"
}
