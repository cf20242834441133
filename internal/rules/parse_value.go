// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

const (
	expectedAddress = "an address, address/length or { … }"
	expectedPort    = "a port or range, 1-65535"
)

// addresses reads "[!=] ADDR". A wrong address is reported and left out; the
// rest of the rule is read on.
func (p *parser) addresses(where part, set *AddrSet) bool {
	return p.set(where, &set.Not, expectedAddress, func(t token) bool {
		prefix, message := parsePrefix(t.text)
		if message != "" {
			p.fault(t, message, expectedAddress)
			return false
		}
		set.Prefixes = append(set.Prefixes, prefix)
		return true
	})
}

// ports reads "[!=] PORT"; see addresses.
func (p *parser) ports(where part, set *PortSet) bool {
	whole := p.set(where, &set.Not, expectedPort+" or { … }", func(t token) bool {
		ports, ok := p.portRangeAt(t)
		if ok {
			set.Ranges = append(set.Ranges, ports)
		}
		return ok
	})
	if dash := p.peek(); whole && dash.text == "-" {
		return p.unexpected(dash, "a range without spaces, such as 80-90")
	}
	return whole
}

// set reads "[!=] element" or "[!=] { element, … }". It returns false when
// the grammar is broken, not when an element is wrong.
func (p *parser) set(where part, not *bool, expected string, element func(token) bool) bool {
	if p.peek().kind == tokenNot {
		p.next()
		*not = true
	}
	if first := p.peek(); first.kind != tokenOpen {
		whole := p.element(where, expected, element)
		if comma := p.peek(); whole && comma.kind == tokenComma {
			return p.unexpected(comma, "several in braces: { "+first.text+", … }")
		}
		return whole
	}
	p.next()
	for {
		if !p.element(where, expected, element) {
			return false
		}
		switch t := p.peek(); t.kind {
		case tokenComma:
			p.next()
		case tokenClose:
			p.next()
			return true
		default:
			return p.unexpected(t, `"," or "}"`)
		}
	}
}

func (p *parser) element(where part, expected string, element func(token) bool) bool {
	t := p.peek()
	if t.kind != tokenWord || isPlaceholder(t.text) || isKeyword(t) {
		return p.unexpected(t, expected)
	}
	if !element(p.next()) {
		p.wrong[where] = true
	}
	return true
}

// parsePrefix reads an address, or an address with prefix length whose host
// bits don't count, as nftables takes it. The message says what is wrong.
func parsePrefix(text string) (netip.Prefix, string) {
	address, _, hasLength := strings.Cut(text, "/")
	a, err := netip.ParseAddr(address)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Sprintf("%q is not an address", text)
	case a.Zone() != "":
		return netip.Prefix{}, fmt.Sprintf("%q has a zone, which no packet carries", text)
	case !hasLength:
		return netip.PrefixFrom(a, a.BitLen()), ""
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Sprintf("%q has a bad prefix length, not 0-%d", text, a.BitLen())
	}
	if a.Is4In6() { // refused by prefixFault, which would not know it when masked
		return prefix, ""
	}
	return prefix.Masked(), ""
}

// portRange reads one port or one range, not a set.
func (p *parser) portRange(where part, ports *PortRange) bool {
	return p.element(where, expectedPort, func(t token) bool {
		r, ok := p.portRangeAt(t)
		*ports = r
		return ok
	})
}

// onePort reads a single port.
func (p *parser) onePort(where part, port *uint16) bool {
	const expected = "one port, 1-65535"
	return p.element(where, expected, func(t token) bool {
		n, message := parsePort(t.text)
		if message != "" {
			p.fault(t, message, expected)
		}
		*port = n
		return message == ""
	})
}

// portRangeAt reads "port" or "first-last" and reports what is wrong with it.
func (p *parser) portRangeAt(t token) (PortRange, bool) {
	firstText, lastText, isRange := strings.Cut(t.text, "-")
	if !isRange {
		lastText = firstText
	}
	first, message := parsePort(firstText)
	last, lastMessage := parsePort(lastText)
	if message = cmp.Or(message, lastMessage); firstText == "" || lastText == "" {
		message = fmt.Sprintf("%q is not a port", t.text)
	}
	if message != "" {
		p.fault(t, message, expectedPort)
		return PortRange{}, false
	}
	r := PortRange{first, last}
	if first > last {
		p.fault(t, fmt.Sprintf("the range %v is reversed", r), fmt.Sprintf("%d-%d", last, first))
		return PortRange{}, false
	}
	return r, true
}

func parsePort(text string) (uint16, string) {
	n, err := strconv.ParseUint(text, 10, 16)
	switch {
	case err != nil && isNumber(text):
		return 0, fmt.Sprintf("port %s is too large", text)
	case err != nil:
		return 0, fmt.Sprintf("%q is not a port", text)
	case n == 0:
		return 0, "port 0 can't be used"
	}
	return uint16(n), ""
}

func isNumber(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}
