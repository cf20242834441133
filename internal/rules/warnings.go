// SPDX-License-Identifier: Apache-2.0

package rules

import "fmt"

// WarningKind names a question that a warning answers; conditions and their
// messages group by it.
type WarningKind string

// The kinds of warnings.
const (
	// Loop: a funnel rule matches packets that it funneled.
	Loop WarningKind = "Loop"
	// Shadowed: an earlier rule matches everything that the rule matches.
	Shadowed WarningKind = "Shadowed"
	// NeverMatches: no packet can match the rule.
	NeverMatches WarningKind = "NeverMatches"
	// UnfunnelWithoutPorts: whoever may send to the through port reaches every
	// port behind it.
	UnfunnelWithoutPorts WarningKind = "UnfunnelWithoutPorts"
	// MarkerConflict: two inner protocols travel under one marker.
	MarkerConflict WarningKind = "MarkerConflict"
	// FewSourcePorts: the source ports that a flow moves through come back too soon.
	FewSourcePorts WarningKind = "FewSourcePorts"
)

// moving is how many source ports a flow must at least move through, a slot of 30 s each,
// for each to be forgotten by conntrack (120 s for what pushed TCP looks like) before it
// comes back.
const moving = 6

// Warning is something that is allowed and most likely not meant.
type Warning struct {
	Kind WarningKind
	// Rule is the index in the rule set, from 0.
	Rule int
	// Text is the rule in canonical form.
	Text string
	// Message says what happens, and what to write where that is clear.
	Message string
	// Other is the index of the rule that Message names beside this one; -1 when
	// it names none.
	Other int
}

// String names the rule by its number from 1 and by its text.
func (w Warning) String() string {
	return fmt.Sprintf("rule %d (%s): %s", w.Rule+1, w.Text, w.Message)
}

// Warnings returns what is doubtful about a valid rule set, in the order of
// the rules.
//
// Shadowed is exact when a single earlier rule is the cause; that several
// rules together leave nothing over is not found.
func (rs RuleSet) Warnings(d Direction) []Warning {
	rs = rs.Canonical()
	markers := rs.markers()
	var out []Warning
	for i, r := range rs {
		for _, w := range rs.warningsAt(i, d, markers) {
			w.Rule, w.Text = i, r.String()
			out = append(out, w)
		}
	}
	return out
}

// warningsAt returns the warnings about one rule, without its number and text.
func (rs RuleSet) warningsAt(i int, d Direction, markers []Rule) []Warning {
	r := rs[i]
	if r.Source.nothing() || r.Destination.nothing() {
		return []Warning{{Kind: NeverMatches, Message: "no packet can match: != excludes every address", Other: -1}}
	}
	if j, ok := rs.shadowedBy(i); ok {
		return []Warning{{Kind: Shadowed, Message: fmt.Sprintf("never reached: rule %d matches all of its packets", j+1), Other: j}}
	}
	var out []Warning
	if rs.loops(i, &markers[i]) {
		out = append(out, Warning{Kind: Loop, Message: loopMessage(d), Other: -1})
	}
	if r.Action.Verb == Unfunnel && len(r.Action.Ports.Ranges) == 0 {
		out = append(out, Warning{Kind: UnfunnelWithoutPorts, Message: "accepts every inner port; add dport with the ports that clients funnel", Other: -1})
	}
	if n := int(r.Action.SourcePorts.Last) - int(r.Action.SourcePorts.First) + 1; r.Action.Verb == Funnel && r.Action.Protocol == TCP && n > 1 && n < moving {
		out = append(out, Warning{Kind: FewSourcePorts, Message: fmt.Sprintf(
			"moves through %d source ports, and the first comes back before conntrack has forgotten it: a flow may stay with a backend that is gone; give at least %d, or one where the port must not move", n, moving), Other: -1})
	}
	if j, ok := rs[:i].conflictWith(&r, &markers[i], markers); ok {
		out = append(out, Warning{Kind: MarkerConflict, Message: conflictMessage(j, innerProtocol(&rs[j])), Other: j})
	}
	return out
}

func conflictMessage(other int, inner Protocol) string {
	return fmt.Sprintf("shares its marker with rule %d, whose inner protocol is %v; give each inner protocol outer source ports of its own", other+1, inner)
}

func loopMessage(d Direction) string {
	if d == Ingress {
		return "also matches packets that were funneled this way before they came in, and funnels them twice"
	}
	return "also matches its own funneled packets, and a second hop with it funnels them again; exclude the through port"
}

// shadowedBy returns the first earlier rule that covers rule i.
func (rs RuleSet) shadowedBy(i int) (int, bool) {
	for j := range i {
		if covers(&rs[j], &rs[i]) {
			return j, true
		}
	}
	return 0, false
}

// loops reports whether a pushing funnel matches its own outer header, unless
// an earlier rule takes those packets.
func (rs RuleSet) loops(i int, marker *Rule) bool {
	if rs[i].Action.Verb != Funnel || !overlaps(&rs[i], marker) {
		return false
	}
	for j := range i {
		if covers(&rs[j], marker) {
			return false
		}
	}
	return true
}

// markers returns for each rule a rule that matches the outer headers that it
// puts on or takes off; the zero rule when it does neither, or works inline.
func (rs RuleSet) markers() []Rule {
	markers := make([]Rule, len(rs))
	for i, r := range rs {
		switch {
		case r.Action.Inline:
		case r.Action.Verb == Funnel:
			markers[i] = r.outer()
		case r.Action.Verb == Unfunnel:
			markers[i] = r
		}
	}
	return markers
}

// outer is a rule that matches what a pushing funnel makes of its packets.
func (r Rule) outer() Rule {
	return Rule{
		Family:           r.Family,
		Source:           r.Source,
		Destination:      r.Destination,
		Protocol:         r.Action.Protocol,
		SourcePorts:      PortSet{Ranges: []PortRange{r.Action.SourcePorts}},
		DestinationPorts: PortSet{Ranges: []PortRange{{r.Action.Port, r.Action.Port}}},
		Pushed:           r.Action.Protocol == TCP,
	}
}

// innerProtocol is the protocol that travels inside.
func innerProtocol(r *Rule) Protocol {
	if r.Action.Verb == Funnel {
		return r.Protocol
	}
	return r.Action.Protocol
}
