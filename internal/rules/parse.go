// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

const (
	expectedVerb      = "accept, drop, funnel or unfunnel"
	expectedQualifier = "ip, ip6, saddr, daddr, tcp, udp, sport, dport, pushed, actions, " + expectedVerb
)

// maxFaults bounds what a text that is no rule set at all costs.
const maxFaults = 1000

// Parse reads rule text: one rule per line or ";", "#" starts a comment. It
// returns the rules in canonical form. The error is of type Errors and holds
// every fault of the text, up to a thousand; the rule set is nil then.
func Parse(text string) (RuleSet, error) {
	rs, _, err := ParsePositions(text)
	return rs, err
}

// ParsePositions is Parse and also tells where each rule begins.
func ParsePositions(text string) (RuleSet, []Position, error) {
	p := parser{scanner: scan(text)}
	p.next()
	p.ruleSet()
	slices.SortStableFunc(p.faults, func(a, b *SyntaxError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if len(p.faults) > 0 {
		return nil, nil, p.faults
	}
	return p.rules, p.starts, nil
}

// parser turns tokens into rules and collects faults on the way.
type parser struct {
	scanner scanner
	ahead   token
	rules   RuleSet
	starts  []Position
	faults  Errors

	// The rule in the making: where its parts stand, and which of them are
	// known to be wrong, so that one mistake is reported once.
	rule  Rule
	start token
	at    [parts]token
	seen  [parts]bool
	wrong [parts]bool
}

func (p *parser) ruleSet() {
	for ; !p.ahead.last(); p.next() {
		if p.peek().kind == tokenEnd {
			continue
		}
		p.oneRule()
		p.skipRule()
	}
}

func (p *parser) peek() token { return p.ahead }

func (p *parser) next() token {
	t := p.ahead
	p.ahead = p.scanner.next()
	return t
}

// skipRule drops what is left of a rule; its tokenEnd stays.
func (p *parser) skipRule() {
	for p.peek().kind != tokenEnd {
		p.next()
	}
}

// oneRule reads a rule and keeps it, also when it has faults: the number of
// rules is right either way.
func (p *parser) oneRule() {
	p.rule, p.start = Rule{}, p.peek()
	p.seen, p.wrong = [parts]bool{}, [parts]bool{}
	if p.qualifiers() && p.action() {
		p.checkRule()
	}
	if len(p.rules) == MaxRules {
		p.fault(p.start, tooManyRules, "")
	}
	if p.rules == nil { // room for a rule in each line
		lines := min(MaxRules, strings.Count(p.scanner.text, "\n")+1)
		p.rules, p.starts = make(RuleSet, 0, lines), make([]Position, 0, lines)
	}
	p.rules = append(p.rules, p.rule.Canonical())
	p.starts = append(p.starts, Position{p.start.line, p.start.column})
}

// checkRule reports the faults of a rule that the grammar allows, each at the
// part it is about.
func (p *parser) checkRule() {
	for _, f := range p.rule.faults() {
		if !p.wrong[f.part] {
			p.fault(p.place(f.part), f.message, f.expected)
		}
	}
}

// place is the token of a part, or of the nearest thing when the rule lacks
// the part.
func (p *parser) place(where part) token {
	switch {
	case p.seen[where]:
		return p.at[where]
	case where > partVerb && p.seen[partVerb]:
		return p.at[partVerb]
	}
	return p.start
}

func (p *parser) fault(t token, message, expected string) {
	switch {
	case len(p.faults) > maxFaults:
		return
	case len(p.faults) == maxFaults:
		message, expected = "too many faults, the rest is not listed", ""
	}
	p.faults = append(p.faults, &SyntaxError{
		Position: Position{t.line, t.column},
		Token:    t.String(),
		Message:  message,
		Expected: expected,
	})
}

// unexpected reports a token that the grammar does not allow; it returns
// false, because the rest of the rule can't be understood then.
func (p *parser) unexpected(t token, expected string) bool {
	message := "unexpected " + quote(t)
	if isPlaceholder(t.text) {
		message = "placeholder " + quote(t) + " is not filled in"
	}
	p.fault(t, message, expected)
	return false
}

func quote(t token) string {
	if t.kind == tokenEnd && t.text != ";" {
		return t.String()
	}
	return fmt.Sprintf("%q", t.text)
}

// isPlaceholder recognises <NAME> and ${NAME} as texts use them for what a
// reader has to fill in.
func isPlaceholder(word string) bool {
	return strings.HasPrefix(word, "<") || strings.HasPrefix(word, "$")
}

// note remembers where a part stands; a part may stand in a rule once.
func (p *parser) note(where part, t token) bool {
	if p.seen[where] {
		first := p.at[where]
		p.fault(t, fmt.Sprintf("duplicate: %q after %q at %d:%d", t.text, first.text, first.line, first.column), "one of the two")
		return false
	}
	p.seen[where], p.at[where] = true, t
	return true
}

// qualifiers reads the match up to the verb, which stays.
func (p *parser) qualifiers() bool {
	for {
		t := p.peek()
		switch {
		case t.text == "actions":
			p.next()
			return true
		case isVerb(t):
			return true
		case t.kind == tokenEnd:
			return p.unexpected(t, expectedQualifier)
		}
		if !p.qualifier(p.next()) {
			return false
		}
	}
}

// qualifier reads one condition of the match; t is its keyword.
func (p *parser) qualifier(t token) bool {
	switch t.text {
	case "ip":
		p.rule.Family = IPv4
		return p.note(partFamily, t)
	case "ip6":
		p.rule.Family = IPv6
		return p.note(partFamily, t)
	case "tcp", "udp":
		p.rule.Protocol, _ = protocolOf(t)
		return p.note(partProtocol, t)
	case "pushed":
		p.rule.Pushed = true
		return p.note(partPushed, t)
	case "saddr":
		return p.note(partSource, t) && p.addresses(partSource, &p.rule.Source)
	case "daddr":
		return p.note(partDestination, t) && p.addresses(partDestination, &p.rule.Destination)
	case "sport":
		return p.note(partSourcePorts, t) && p.ports(partSourcePorts, &p.rule.SourcePorts)
	case "dport":
		return p.note(partDestinationPorts, t) && p.ports(partDestinationPorts, &p.rule.DestinationPorts)
	}
	return p.unexpected(t, expectedQualifier)
}

func protocolOf(t token) (Protocol, bool) {
	switch t.text {
	case "tcp":
		return TCP, true
	case "udp":
		return UDP, true
	}
	return 0, false
}

func verbOf(t token) (Verb, bool) {
	switch t.text {
	case "accept":
		return Accept, true
	case "drop":
		return Drop, true
	case "funnel":
		return Funnel, true
	case "unfunnel":
		return Unfunnel, true
	}
	return 0, false
}

func isVerb(t token) bool {
	_, ok := verbOf(t)
	return ok
}

// isKeyword reports whether the word can't be a value.
func isKeyword(t token) bool {
	switch t.text {
	case "ip", "ip6", "saddr", "daddr", "tcp", "udp", "sport", "dport", "pushed", "actions",
		"accept", "drop", "funnel", "unfunnel", "inline", "reply":
		return true
	}
	return false
}
