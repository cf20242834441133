// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"net/netip"
)

// part names a piece of a rule, so that a fault can be shown where it stands
// in the text.
type part uint8

const (
	partFamily part = iota
	partSource
	partDestination
	partProtocol
	partSourcePorts
	partDestinationPorts
	partPushed
	partVerb
	partActionProtocol
	partPort        // funnel … dport
	partOuterSource // funnel … sport
	partInner       // unfunnel … dport
	partInline
	partReply
	parts
)

// fault is something that makes a rule senseless, whatever text it came from.
type fault struct {
	part     part
	message  string
	expected string
}

// Validate returns all faults of a rule set that was built in Go as
// RuleErrors, nil when there are none. What Parse returned is valid.
func (rs RuleSet) Validate() error {
	var faults RuleErrors
	for i, r := range rs {
		for _, f := range r.faults() {
			faults = append(faults, &RuleError{Rule: i, Text: r.String(), Message: f.text()})
		}
	}
	if len(rs) > MaxRules {
		faults = append(faults, &RuleError{Rule: MaxRules, Text: rs[MaxRules].String(), Message: tooManyRules})
	}
	if len(faults) == 0 {
		return nil
	}
	return faults
}

var tooManyRules = fmt.Sprintf("more than %d rules in one rule set", MaxRules)

func (f fault) text() string {
	if f.expected == "" {
		return f.message
	}
	return f.message + "; expected " + f.expected
}

// faults checks what the grammar alone does not: that the pieces of a rule
// fit each other.
func (r Rule) faults() []fault {
	var fs []fault
	fs = append(fs, r.addressFaults()...)
	fs = append(fs, r.protocolFaults()...)
	fs = append(fs, portFaults(partSourcePorts, r.SourcePorts)...)
	fs = append(fs, portFaults(partDestinationPorts, r.DestinationPorts)...)
	return append(fs, r.actionFaults()...)
}

func (r Rule) addressFaults() []fault {
	if r.Family != AnyFamily && r.Family != IPv4 && r.Family != IPv6 {
		return []fault{{partFamily, fmt.Sprintf("unknown %v", r.Family), "ip or ip6"}}
	}
	family := r.Family
	if family == AnyFamily {
		family = r.addressFamily()
	}
	return append(r.Source.faults(partSource, family), r.Destination.faults(partDestination, family)...)
}

// faults checks a set of addresses against the family of its rule.
func (s AddrSet) faults(where part, family Family) []fault {
	if s.Not && len(s.Prefixes) == 0 {
		return []fault{{where, "!= without an address", "at least one address"}}
	}
	var fs []fault
	for _, p := range s.Prefixes {
		if message, expected := prefixFault(p); message != "" {
			fs = append(fs, fault{where, message, expected})
		} else if FamilyOf(p.Addr()) != family {
			return append(fs, fault{where, familyMismatch(p, family), "addresses of one family (write one rule for ip and one for ip6)"})
		}
	}
	return fs
}

func familyMismatch(p netip.Prefix, family Family) string {
	names := map[Family]string{IPv4: "IPv4", IPv6: "IPv6"}
	text := appendPrefix(nil, p)
	return fmt.Sprintf("%s is an %s address in an %s rule", text, names[FamilyOf(p.Addr())], names[family])
}

// prefixFault says why a prefix can't be matched on the wire, "" if it can.
func prefixFault(p netip.Prefix) (message, expected string) {
	switch a := p.Addr(); {
	case !p.IsValid():
		return "not a valid prefix", expectedAddress
	case a.Is4In6():
		return fmt.Sprintf("%s is an IPv4 address written as IPv6", a), a.Unmap().String()
	}
	return "", ""
}

func (r Rule) protocolFaults() []fault {
	var fs []fault
	if r.Protocol == 0 {
		fs = append(fs, fault{partProtocol, "the rule names no protocol", "tcp or udp"})
	} else if !known(r.Protocol) {
		fs = append(fs, fault{partProtocol, fmt.Sprintf("unknown %v", r.Protocol), "tcp or udp"})
	}
	if r.Pushed && r.Protocol == UDP {
		fs = append(fs, fault{partPushed, "pushed matches TCP headers only: a UDP header has no room for the mark", "tcp, or sport to tell pushed packets apart"})
	}
	return fs
}

func known(p Protocol) bool {
	return p == TCP || p == UDP
}

func portFaults(where part, s PortSet) []fault {
	var fs []fault
	if s.Not && len(s.Ranges) == 0 {
		fs = append(fs, fault{where, "!= without a port", "at least one port"})
	}
	for _, r := range s.Ranges {
		fs = append(fs, rangeFaults(where, r)...)
	}
	return fs
}

func rangeFaults(where part, r PortRange) []fault {
	switch {
	case r.First == 0:
		return []fault{{where, "port 0 can't be used", "a port, 1-65535"}}
	case r.First > r.Last:
		return []fault{{where, fmt.Sprintf("the range %v is reversed", r), fmt.Sprintf("%d-%d", r.Last, r.First)}}
	}
	return nil
}

func (r Rule) actionFaults() []fault {
	switch r.Action.Verb {
	case Accept, Drop:
		if !r.Action.isVerbOnly() {
			return []fault{{partVerb, r.Action.Verb.String() + " takes nothing else", ""}}
		}
		return nil
	case Funnel:
		return append(r.funnelFaults(), r.inlineFaults()...)
	case Unfunnel:
		return append(r.unfunnelFaults(), r.inlineFaults()...)
	}
	return []fault{{partVerb, fmt.Sprintf("unknown %v", r.Action.Verb), expectedVerb}}
}

// isVerbOnly reports whether the action uses no field but Verb.
func (a Action) isVerbOnly() bool {
	return a.Protocol == 0 && !a.Inline && a.Port == 0 && a.SourcePorts == (PortRange{}) &&
		len(a.Ports.Ranges) == 0 && !a.Ports.Not && !a.Reply
}

func (r Rule) funnelFaults() []fault {
	var fs []fault
	a := r.Action
	if !known(a.Protocol) {
		fs = append(fs, fault{partActionProtocol, "funnel names no outer protocol", "tcp or udp"})
	}
	if a.Port == 0 {
		fs = append(fs, fault{partPort, "funnel needs the port to go through", "dport and a port, 1-65535"})
	}
	if len(a.Ports.Ranges) > 0 || a.Ports.Not {
		fs = append(fs, fault{partInner, "funnel takes no set of inner ports", ""})
	}
	if a.Inline {
		if a.SourcePorts != (PortRange{}) {
			fs = append(fs, fault{partOuterSource, "inline chooses source ports itself", "no sport"})
		}
		return fs
	}
	if a.SourcePorts == (PortRange{}) {
		return append(fs, fault{partOuterSource, "funnel needs an outer source port", "sport and a port or a range (or inline)"})
	}
	return append(fs, rangeFaults(partOuterSource, a.SourcePorts)...)
}

func (r Rule) unfunnelFaults() []fault {
	var fs []fault
	a := r.Action
	if !known(a.Protocol) {
		fs = append(fs, fault{partActionProtocol, "unfunnel names no inner protocol", "tcp or udp"})
	}
	if a.Port != 0 || a.SourcePorts != (PortRange{}) {
		fs = append(fs, fault{partOuterSource, "unfunnel takes no outer ports", "them in the match, in front of unfunnel"})
	}
	return append(fs, portFaults(partInner, a.Ports)...)
}

// inlineFaults: inline rewrites the TCP header that is there, so all is TCP.
func (r Rule) inlineFaults() []fault {
	if !r.Action.Inline {
		return nil
	}
	var fs []fault
	if r.Action.Protocol == UDP {
		fs = append(fs, fault{partInline, "inline carries TCP in TCP only", r.Action.Verb.String() + " tcp"})
	}
	if r.Protocol == UDP {
		fs = append(fs, fault{partInline, "inline carries TCP in TCP only, and the rule matches udp", "a tcp match"})
	}
	if r.Pushed {
		fs = append(fs, fault{partPushed, "a pushed packet is not inline", "either pushed or inline"})
	}
	if r.Action.Reply {
		fs = append(fs, fault{partReply, "inline answers in kind already", "no reply"})
	}
	return fs
}
