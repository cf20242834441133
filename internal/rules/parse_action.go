// SPDX-License-Identifier: Apache-2.0

package rules

// action reads the verb and what belongs to it, up to the end of the rule.
func (p *parser) action() bool {
	t := p.peek()
	verb, ok := verbOf(t)
	if !ok {
		return p.unexpected(t, expectedVerb)
	}
	p.note(partVerb, p.next())
	p.rule.Action.Verb = verb
	switch verb {
	case Funnel:
		return p.actionProtocol() && p.parameters(p.funnelParameter)
	case Unfunnel:
		return p.actionProtocol() && p.parameters(p.unfunnelParameter)
	}
	return p.endOfRule()
}

func (p *parser) endOfRule() bool {
	if t := p.peek(); t.kind != tokenEnd {
		return p.unexpected(t, "end of line")
	}
	return true
}

func (p *parser) actionProtocol() bool {
	t := p.peek()
	protocol, ok := protocolOf(t)
	if !ok {
		return p.unexpected(t, "tcp or udp")
	}
	p.rule.Action.Protocol = protocol
	return p.note(partActionProtocol, p.next())
}

// parameters reads the words behind "funnel tcp" or "unfunnel udp", in any
// order.
func (p *parser) parameters(one func(token) bool) bool {
	for p.peek().kind != tokenEnd {
		if !one(p.next()) {
			return false
		}
	}
	return true
}

func (p *parser) funnelParameter(t token) bool {
	switch t.text {
	case "dport":
		return p.note(partPort, t) && p.onePort(partPort, &p.rule.Action.Port)
	case "sport":
		return p.note(partOuterSource, t) && p.portRange(partOuterSource, &p.rule.Action.SourcePorts)
	}
	return p.wayParameter(t, "dport, sport, inline, reply or end of line")
}

func (p *parser) unfunnelParameter(t token) bool {
	if t.text == "dport" {
		return p.note(partInner, t) && p.ports(partInner, &p.rule.Action.Ports)
	}
	return p.wayParameter(t, "dport, inline, reply or end of line")
}

// wayParameter reads what says how a disguise works, which both actions have.
func (p *parser) wayParameter(t token, expected string) bool {
	switch t.text {
	case "inline":
		p.rule.Action.Inline = true
		return p.note(partInline, t)
	case "reply":
		p.rule.Action.Reply = true
		return p.note(partReply, t)
	}
	return p.unexpected(t, expected)
}
