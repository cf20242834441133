// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"strconv"
)

// MaxRules is the largest number of rules in one rule set.
const MaxRules = 4096

// Family is an IP version; AnyFamily stands for both.
type Family uint8

// The families a rule can name.
const (
	AnyFamily Family = 0
	IPv4      Family = 4
	IPv6      Family = 6
)

// String returns the keyword of the language: "ip", "ip6", or nothing for
// AnyFamily.
func (f Family) String() string {
	switch f {
	case IPv4:
		return "ip"
	case IPv6:
		return "ip6"
	case AnyFamily:
		return ""
	}
	return "family(" + strconv.Itoa(int(f)) + ")"
}

// FamilyOf returns the family of an address. An IPv4-mapped IPv6 address is
// IPv6, as it is on the wire.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Protocol is a transport protocol by its IANA number.
type Protocol uint8

// The protocols of the language.
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

// String returns the keyword of the language: "tcp" or "udp".
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return "protocol(" + strconv.Itoa(int(p)) + ")"
}

// Direction is the side of an interface on which a rule set works, as the
// interface's owner sees it.
type Direction uint8

// The two directions.
const (
	Ingress Direction = iota
	Egress
)

// String returns "ingress" or "egress".
func (d Direction) String() string {
	switch d {
	case Ingress:
		return "ingress"
	case Egress:
		return "egress"
	}
	return "direction(" + strconv.Itoa(int(d)) + ")"
}

// AddrSet is a set of addresses, or with Not its complement within the
// family of its prefixes. No prefixes: any address.
//
// Canonical form: masked, ascending, none contained in another; all of one
// family.
type AddrSet struct {
	Prefixes []netip.Prefix
	Not      bool
}

// PortRange holds the ports First to Last, both included, in host order.
type PortRange struct {
	First, Last uint16
}

// PortSet is a set of ports, or with Not its complement. No ranges: any
// port, 0 included.
//
// Canonical form: ascending, neither overlapping nor adjacent.
type PortSet struct {
	Ranges []PortRange
	Not    bool
}

// Verb says what an action does.
type Verb uint8

// The verbs of the language.
const (
	Accept   Verb = iota // leave the packet untouched, look at no further rule
	Drop                 // drop and count
	Funnel               // disguise as a flow of the through port
	Unfunnel             // undo what the other side's Funnel did
)

// String returns the keyword of the language.
func (v Verb) String() string {
	switch v {
	case Accept:
		return "accept"
	case Drop:
		return "drop"
	case Funnel:
		return "funnel"
	case Unfunnel:
		return "unfunnel"
	}
	return "verb(" + strconv.Itoa(int(v)) + ")"
}

// Action is what happens to a packet that a rule matches. Accept and Drop
// use no field but Verb.
type Action struct {
	Verb Verb
	// Protocol is the outer protocol of a Funnel and the inner protocol of an
	// Unfunnel.
	Protocol Protocol
	// Inline rewrites ports in place instead of inserting a header. It goes
	// with TCP only.
	Inline bool
	// Port is the through port of a Funnel: its outer destination port.
	Port uint16
	// SourcePorts are the outer source ports of a pushing Funnel; a range is
	// walked through with time. Zero for Inline.
	SourcePorts PortRange
	// Ports are the inner destination ports that an Unfunnel accepts; other
	// packets of the match are dropped. Empty: all.
	Ports PortSet
	// Reply answers in kind: replies to packets of this rule are unfunneled
	// (Funnel) or funneled (Unfunnel). Inline implies it, so that it is never
	// set together with Inline.
	Reply bool
}

// Rule is a match and its action. A field that is zero does not restrict the
// match, but for Protocol, which every rule names.
type Rule struct {
	// Family of the packet. A rule with an address has the address's family.
	Family                        Family
	Source, Destination           AddrSet
	Protocol                      Protocol
	SourcePorts, DestinationPorts PortSet
	// Pushed restricts the match to TCP headers that carry the magic of a
	// pushed header.
	Pushed bool
	Action Action
}

// RuleSet is a list of rules; the first one that matches a packet decides. A
// packet that none matches stays untouched.
type RuleSet []Rule

// Packet is what the language knows of a packet: its outermost headers.
// Ports are in host order.
type Packet struct {
	Source, Destination         netip.Addr
	Protocol                    Protocol
	SourcePort, DestinationPort uint16
	// Pushed tells that the header is TCP and carries the magic of a pushed
	// header.
	Pushed bool
}
