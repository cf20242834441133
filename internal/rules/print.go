// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"strconv"
)

// String prints the rule set in canonical form, one rule per line, each line
// ended by a newline. For a valid rule set Parse(rs.String()) is
// rs.Canonical().
//
// A rule that the earlier sfunnel program can express is printed in a form
// which that program reads too, hence the word "actions".
func (rs RuleSet) String() string {
	var text []byte
	for i := range rs {
		text = rs[i].AppendLine(text)
	}
	return string(text)
}

// AppendLine appends the rule as the rule set prints it, its newline included. The
// text is empty or ends with one.
func (r Rule) AppendLine(text []byte) []byte {
	p := printer(text)
	p.rule(r)
	return append(p, '\n')
}

// String prints the rule in canonical form, without a newline.
func (r Rule) String() string {
	var p printer
	p.rule(r)
	return string(p)
}

// String prints the action in canonical form.
func (a Action) String() string {
	var p printer
	p.action(a)
	return string(p)
}

// String prints "first-last", or one port when they are equal.
func (r PortRange) String() string {
	return string(appendRange(nil, r))
}

// printer gathers lines of words.
type printer []byte

// word adds a word, with a space in front unless it begins a line.
func (p *printer) word(word string) {
	p.space()
	*p = append(*p, word...)
}

func (p *printer) space() {
	if n := len(*p); n > 0 && (*p)[n-1] != '\n' {
		*p = append(*p, ' ')
	}
}

func (p *printer) wordIf(say bool, word string) {
	if say {
		p.word(word)
	}
}

func (p *printer) rule(r Rule) {
	r = r.Canonical()
	p.addresses(&r)
	p.word(r.Protocol.String())
	p.ports("sport", r.SourcePorts)
	p.ports("dport", r.DestinationPorts)
	p.wordIf(r.Pushed, "pushed")
	p.word("actions")
	p.action(r.Action)
}

// addresses prints what a rule asks of the addresses of a packet.
func (p *printer) addresses(r *Rule) {
	p.wordIf(r.Family != AnyFamily, r.Family.String())
	printSet(p, "saddr", r.Source.Not, r.Source.Prefixes, appendPrefix)
	printSet(p, "daddr", r.Destination.Not, r.Destination.Prefixes, appendPrefix)
}

func (p *printer) ports(keyword string, s PortSet) {
	printSet(p, keyword, s.Not, s.Ranges, appendRange)
}

func (p *printer) action(a Action) {
	p.word(a.Verb.String())
	switch a.Verb {
	case Funnel:
		p.word(a.Protocol.String())
		p.word("dport")
		p.word(portText(a.Port))
		p.wordIf(a.Inline, "inline")
		if !a.Inline {
			p.ports("sport", PortSet{Ranges: []PortRange{a.SourcePorts}})
		}
		p.wordIf(a.Reply, "reply")
	case Unfunnel:
		p.word(a.Protocol.String())
		p.wordIf(a.Inline, "inline")
		p.ports("dport", a.Ports)
		p.wordIf(a.Reply, "reply")
	}
}

// printSet prints "keyword [!=] element" or "keyword [!=] { element, … }";
// nothing for an empty set, which does not restrict the rule.
func printSet[E any](p *printer, keyword string, not bool, elements []E, appendElement func([]byte, E) []byte) {
	if len(elements) == 0 {
		return
	}
	p.wordIf(keyword != "", keyword)
	p.wordIf(not, "!=")
	p.wordIf(len(elements) > 1, "{")
	for i, e := range elements {
		if i > 0 {
			*p = append(*p, ',')
		}
		p.space()
		*p = appendElement(*p, e)
	}
	p.wordIf(len(elements) > 1, "}")
}

func appendRange(text []byte, r PortRange) []byte {
	text = strconv.AppendUint(text, uint64(r.First), 10)
	if r.First == r.Last {
		return text
	}
	text = append(text, '-')
	return strconv.AppendUint(text, uint64(r.Last), 10)
}

func portText(port uint16) string {
	return strconv.Itoa(int(port))
}

// appendPrefix prints a prefix that holds one address as that address.
func appendPrefix(text []byte, p netip.Prefix) []byte {
	if p.IsSingleIP() {
		return p.Addr().AppendTo(text)
	}
	return p.AppendTo(text)
}
