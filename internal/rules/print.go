// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"strconv"
	"strings"
)

// String prints the rule set in canonical form, one rule per line, each line
// ended by a newline. For a valid rule set Parse(rs.String()) is
// rs.Canonical().
//
// A rule that the earlier sfunnel program can express is printed in a form
// which that program reads too, hence the word "actions".
func (rs RuleSet) String() string {
	var b strings.Builder
	for _, r := range rs {
		b.WriteString(r.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// String prints the rule in canonical form, without a newline.
func (r Rule) String() string {
	r = r.Canonical()
	words := make([]string, 0, 16)
	words = appendWord(words, r.Family != AnyFamily, r.Family.String())
	words = appendSet(words, "saddr", r.Source.Not, prefixTexts(r.Source.Prefixes))
	words = appendSet(words, "daddr", r.Destination.Not, prefixTexts(r.Destination.Prefixes))
	words = append(words, r.Protocol.String())
	words = appendPorts(words, "sport", r.SourcePorts)
	words = appendPorts(words, "dport", r.DestinationPorts)
	words = appendWord(words, r.Pushed, "pushed")
	words = append(words, "actions", r.Action.String())
	return strings.Join(words, " ")
}

// String prints the action in canonical form.
func (a Action) String() string {
	words := []string{a.Verb.String()}
	switch a.Verb {
	case Funnel:
		words = append(words, a.Protocol.String(), "dport", portText(a.Port))
		words = appendWord(words, !a.Inline, "sport "+a.SourcePorts.String())
		words = appendWord(words, a.Inline, "inline")
		words = appendWord(words, a.Reply, "reply")
	case Unfunnel:
		words = append(words, a.Protocol.String())
		words = appendWord(words, a.Inline, "inline")
		words = appendPorts(words, "dport", a.Ports)
		words = appendWord(words, a.Reply, "reply")
	}
	return strings.Join(words, " ")
}

// String prints "first-last", or one port when they are equal.
func (r PortRange) String() string {
	if r.First == r.Last {
		return portText(r.First)
	}
	return portText(r.First) + "-" + portText(r.Last)
}

func portText(port uint16) string {
	return strconv.Itoa(int(port))
}

func appendWord(words []string, say bool, word string) []string {
	if !say {
		return words
	}
	return append(words, word)
}

func appendPorts(words []string, keyword string, s PortSet) []string {
	texts := make([]string, len(s.Ranges))
	for i, r := range s.Ranges {
		texts[i] = r.String()
	}
	return appendSet(words, keyword, s.Not, texts)
}

// appendSet prints "keyword [!=] element" or "keyword [!=] { element, … }";
// nothing for an empty set, which does not restrict the rule.
func appendSet(words []string, keyword string, not bool, elements []string) []string {
	if len(elements) == 0 {
		return words
	}
	words = append(words, keyword)
	words = appendWord(words, not, "!=")
	if len(elements) == 1 {
		return append(words, elements[0])
	}
	return append(words, "{ "+strings.Join(elements, ", ")+" }")
}

// prefixTexts prints a prefix that holds one address as that address.
func prefixTexts(prefixes []netip.Prefix) []string {
	texts := make([]string, len(prefixes))
	for i, p := range prefixes {
		texts[i] = p.String()
		if p.IsSingleIP() {
			texts[i] = p.Addr().String()
		}
	}
	return texts
}
