// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"slices"
)

// Mismatch is one way in which a flow and a rule of its receiver differ.
type Mismatch struct {
	Kind MismatchKind
	// Message names what is sent and what the rule expects.
	Message string
}

// MismatchKind names what differs.
type MismatchKind string

// The kinds of mismatches.
const (
	OuterProtocol MismatchKind = "outer protocol"
	ThroughPort   MismatchKind = "through port"
	SourcePort    MismatchKind = "source port"
	InnerProtocol MismatchKind = "inner protocol"
	InnerPort     MismatchKind = "inner port"
	Encapsulation MismatchKind = "encapsulation"
	Address       MismatchKind = "address"
	// NotUnfunneled: the rule that the packets meet does something else.
	NotUnfunneled MismatchKind = "action"
	// NothingUnfunneled: the receiver has no unfunnel rule at all.
	NothingUnfunneled MismatchKind = "nothing"
	// Reply: one side funnels answers and the other does not expect that, or
	// the reverse.
	Reply MismatchKind = "reply"
)

// String is the kind and the message.
func (m Mismatch) String() string {
	return string(m.Kind) + ": " + m.Message
}

// matching says why a rule does not match what arrives.
func matching(r, outer, taker *Rule) []Mismatch {
	var found []Mismatch
	add := func(kind MismatchKind, sent, expected string) {
		found = append(found, Mismatch{kind, fmt.Sprintf("sent %s, expected %s", sent, expected)})
	}
	if outer.Protocol != taker.Protocol {
		add(OuterProtocol, outer.Protocol.String(), taker.Protocol.String())
	}
	if !outer.DestinationPorts.overlaps(taker.DestinationPorts) {
		add(ThroughPort, "to "+outer.DestinationPorts.text(), taker.DestinationPorts.text())
	}
	// An encapsulation that differs says it all: its source ports differ too.
	if r.Action.Inline == taker.Action.Inline && !outer.SourcePorts.overlaps(taker.SourcePorts) {
		add(SourcePort, "from "+outer.SourcePorts.text(), taker.SourcePorts.text())
	}
	if outer.Family != AnyFamily && taker.Family != AnyFamily && outer.Family != taker.Family {
		add(Address, outer.Family.String(), taker.Family.String())
	} else if !outer.Source.overlaps(taker.Source) || !outer.Destination.overlaps(taker.Destination) {
		add(Address, conditions(outer), conditions(taker))
	}
	return found
}

// undoing says why a rule that takes the packets does not give back what was
// funneled.
func undoing(r, taker *Rule) []Mismatch {
	if taker.Action.Verb != Unfunnel {
		return []Mismatch{{NotUnfunneled, fmt.Sprintf("sent funneled, the rule says %v", taker.Action.Verb)}}
	}
	var found []Mismatch
	add := func(kind MismatchKind, sent, expected string) {
		found = append(found, Mismatch{kind, fmt.Sprintf("sent %s, expected %s", sent, expected)})
	}
	if r.Action.Inline != taker.Action.Inline {
		add(Encapsulation, encapsulation(r), encapsulation(taker))
	}
	if r.Protocol != taker.Action.Protocol {
		add(InnerProtocol, r.Protocol.String(), taker.Action.Protocol.String())
	}
	if refused := r.DestinationPorts.minus(taker.Action.Ports); len(refused) > 0 && refused[len(refused)-1].Last > 0 {
		add(InnerPort, PortSet{Ranges: refused}.text(), taker.Action.Ports.text())
	}
	return found
}

func encapsulation(r *Rule) string {
	if r.Action.Inline {
		return "inline"
	}
	return "push"
}

// text prints a set as the language does. Port 0, which no one can write, is
// left out.
func (s PortSet) text() string {
	if len(s.Ranges) == 0 {
		return "any port"
	}
	ranges := slices.Clone(s.Ranges)
	if ranges[0].First == 0 {
		ranges[0].First = 1
	}
	var p printer
	p.ports("", PortSet{Ranges: ranges, Not: s.Not})
	return string(p)
}

// answers compares what the sides do with answers to a pushed flow that is
// undone. What the backend sends by written-out rules are answers themselves.
func (w way) answers(f *Flow, r *Rule) {
	expected := r.Action.Reply || !w.back && w.unfunnelsAnswers(r)
	for _, j := range f.By {
		taker := &w.to.Ingress[j]
		funneled := taker.Action.Reply || !w.back && w.funnelsAnswers(r)
		switch {
		case funneled && !expected:
			f.miss(Reply, "answers come funneled by rule %d, and nothing undoes them: add reply to the funnel rule", j+1)
		case expected && !funneled:
			f.miss(Reply, "answers are expected funneled, and rule %d lets them go plain: add reply to it", j+1)
		case !expected && r.Protocol == TCP && !w.back:
			f.note("no side funnels the answers, and a Service translates none that come plain: add reply to both rules")
		}
	}
}

// unfunnelsAnswers looks for a rule of the sender that is written out for
// answers.
func (w way) unfunnelsAnswers(r *Rule) bool {
	answer := Rule{
		Protocol:         r.Action.Protocol,
		SourcePorts:      PortSet{Ranges: []PortRange{{r.Action.Port, r.Action.Port}}},
		DestinationPorts: PortSet{Ranges: []PortRange{r.Action.SourcePorts}},
	}
	for _, rule := range w.from.Ingress {
		rule.Source, rule.Destination = AddrSet{}, AddrSet{}
		if rule.Action.Verb == Unfunnel && !rule.Action.Inline && rule.Action.Protocol == r.Protocol && overlaps(&rule, &answer) {
			return true
		}
	}
	return false
}

// funnelsAnswers looks for a rule of the receiver that is written out for
// answers.
func (w way) funnelsAnswers(r *Rule) bool {
	ports := PortSet{Ranges: []PortRange{r.Action.SourcePorts}}
	through := w.arriving(r).DestinationPorts
	for _, rule := range w.to.Egress {
		a := rule.Action
		if a.Verb == Funnel && !a.Inline && a.Protocol == r.Action.Protocol && rule.Protocol == r.Protocol &&
			ports.Contains(a.Port) && through.overlaps(PortSet{Ranges: []PortRange{a.SourcePorts}}) &&
			rule.SourcePorts.overlaps(r.DestinationPorts) {
			return true
		}
	}
	return false
}
