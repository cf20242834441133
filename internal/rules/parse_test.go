// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// The rule sets of the document that this language comes from, with addresses
// in the place of its placeholders.
const (
	podA = `
ip daddr 10.96.0.11 tcp dport 443  funnel tcp dport 80 sport 540  # HTTPs
ip daddr 10.96.0.12 tcp dport 8080 funnel tcp dport 80 sport 540  # Proxy HTTP
ip daddr 10.96.0.13 udp dport 443  funnel udp dport 80 sport 541  # QUIC
`
	podB = `
tcp dport 80 sport 540 unfunnel tcp
tcp dport 80 sport 541 unfunnel udp
`
)

func TestParseReadsTheOriginalRuleSets(t *testing.T) {
	want := RuleSet{
		{
			Family:           IPv4,
			Destination:      AddrSet{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.96.0.13/32")}},
			Protocol:         UDP,
			DestinationPorts: PortSet{Ranges: []PortRange{{443, 443}}},
			Action:           Action{Verb: Funnel, Protocol: UDP, Port: 80, SourcePorts: PortRange{541, 541}},
		},
		{
			Protocol:         TCP,
			SourcePorts:      PortSet{Ranges: []PortRange{{541, 541}}},
			DestinationPorts: PortSet{Ranges: []PortRange{{80, 80}}},
			Action:           Action{Verb: Unfunnel, Protocol: UDP},
		},
	}
	a, b := mustParse(t, podA), mustParse(t, podB)
	if len(a) != 3 || len(b) != 2 {
		t.Fatalf("%d and %d rules, not 3 and 2", len(a), len(b))
	}
	if got := (RuleSet{a[2], b[1]}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestParsePrintsCanonicalForm(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"only comments and separators", "# a\n;;\n\t# b; tcp drop\n", ""},
		{"the actions word is added", "tcp accept", "tcp actions accept\n"},
		{"two rules in a line", "tcp accept; udp drop;", lines("tcp actions accept", "udp actions drop")},
		{"order of qualifiers", "dport 80 pushed tcp daddr 10.0.0.1 ip sport 5 saddr 10.0.0.2 drop",
			"ip saddr 10.0.0.2 daddr 10.0.0.1 tcp sport 5 dport 80 pushed actions drop\n"},
		{"an address gives the family", "saddr != fd00::1 udp drop", "ip6 saddr != fd00::1 udp actions drop\n"},
		{"no family stays none", "udp dport 53 accept", "udp dport 53 actions accept\n"},
		{"host bits don't count", "daddr 10.1.2.3/8 tcp drop", "ip daddr 10.0.0.0/8 tcp actions drop\n"},
		{"a /32 is an address", "daddr 10.1.2.3/32 tcp drop", "ip daddr 10.1.2.3 tcp actions drop\n"},
		{"IPv6 is compressed", "daddr FD00:0:0::0001 tcp drop", "ip6 daddr fd00::1 tcp actions drop\n"},
		{"sets are sorted, what is contained goes", "saddr {10.0.0.9, 10.0.0.0/24,9.0.0.0/8 , 10.0.0.0/25} tcp drop",
			"ip saddr { 9.0.0.0/8, 10.0.0.0/24 } tcp actions drop\n"},
		{"a set of one is no set", "tcp dport { 80 } drop", "tcp dport 80 actions drop\n"},
		{"ranges are joined", "tcp dport != {7,1-3,4,6} drop", "tcp dport != { 1-4, 6-7 } actions drop\n"},
		{"all ports", "tcp dport 1-65535 drop", "tcp dport 1-65535 actions drop\n"},
		{"!= needs no space", "saddr!=10.0.0.1 tcp sport!={1,3} drop", "ip saddr != 10.0.0.1 tcp sport != { 1, 3 } actions drop\n"},
		{"funnel", "udp funnel tcp sport 540 dport 179", "udp actions funnel tcp dport 179 sport 540\n"},
		{"funnel through a range", "udp funnel udp dport 179 sport 540-547 reply", "udp actions funnel udp dport 179 sport 540-547 reply\n"},
		{"funnel inline", "tcp dport 443 funnel tcp inline dport 80", "tcp dport 443 actions funnel tcp dport 80 inline\n"},
		{"unfunnel", "tcp pushed unfunnel udp reply dport {4739, 2055}", "tcp pushed actions unfunnel udp dport { 2055, 4739 } reply\n"},
		{"unfunnel inline", "tcp unfunnel tcp dport 443 inline", "tcp actions unfunnel tcp inline dport 443\n"},
		{"unfunnel all but", "tcp unfunnel tcp dport != 22", "tcp actions unfunnel tcp dport != 22\n"},
		{"line ends of other systems", "\ufefftcp drop\r\nudp drop\r\n", lines("tcp actions drop", "udp actions drop")},
		{"a comment ends a word", "tcp drop#x", "tcp actions drop\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rs := mustParse(t, c.text)
			if got := rs.String(); got != c.want {
				t.Errorf("%q prints as\n%swant\n%s", c.text, got, c.want)
			}
			if again := mustParse(t, rs.String()); !reflect.DeepEqual(again, rs) {
				t.Errorf("the print reads as %+v, not %+v", again, rs)
			}
		})
	}
}

func TestParseSaysWhereRulesBegin(t *testing.T) {
	_, at, err := ParsePositions("# x\n  tcp drop; udp drop\n\nudp accept")
	want := []Position{{2, 3}, {2, 13}, {4, 1}}
	if err != nil || !reflect.DeepEqual(at, want) {
		t.Errorf("%v, %v, want %v", at, err, want)
	}
}

func TestParseNamesEveryFault(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string // line:column: message; expected
	}{
		{"foo", []string{`1:1: unexpected "foo"; expected ` + expectedQualifier}},
		{"tcp dport 80", []string{`1:13: unexpected end of line; expected ` + expectedQualifier}},
		{"tcp dport; udp drop", []string{`1:10: unexpected ";"; expected ` + expectedPort + " or { … }"}},
		{"tcp dport 80 actions", []string{"1:21: unexpected end of line; expected " + expectedVerb}},
		{"tcp dport 80 actions actions drop", []string{`1:22: unexpected "actions"; expected ` + expectedVerb}},
		{"tcp drop all", []string{`1:10: unexpected "all"; expected end of line`}},
		{"dport 80 drop", []string{"1:1: the rule names no protocol; expected tcp or udp"}},
		{"tcp udp drop", []string{`1:5: duplicate: "udp" after "tcp" at 1:1; expected one of the two`}},
		{"ip ip6 tcp drop", []string{`1:4: duplicate: "ip6" after "ip" at 1:1; expected one of the two`}},
		{"tcp dport 1 dport 2 drop", []string{`1:13: duplicate: "dport" after "dport" at 1:5; expected one of the two`}},
		{"tcp dport 0 drop", []string{"1:11: port 0 can't be used; expected " + expectedPort}},
		{"tcp dport 0-5 drop", []string{"1:11: port 0 can't be used; expected " + expectedPort}},
		{"tcp dport 65536 drop", []string{"1:11: port 65536 is too large; expected " + expectedPort}},
		{"tcp dport 5-65536 drop", []string{"1:11: port 65536 is too large; expected " + expectedPort}},
		{"tcp dport http drop", []string{`1:11: "http" is not a port; expected ` + expectedPort}},
		{"tcp dport -5 drop", []string{`1:11: "-5" is not a port; expected ` + expectedPort}},
		{"tcp dport 9-3 drop", []string{"1:11: the range 9-3 is reversed; expected 3-9"}},
		{"tcp dport { 1 2 } drop", []string{`1:15: unexpected "2"; expected "," or "}"`}},
		{"tcp dport { 1, } drop", []string{`1:16: unexpected "}"; expected ` + expectedPort + " or { … }"}},
		{"tcp dport { } drop", []string{`1:13: unexpected "}"; expected ` + expectedPort + " or { … }"}},
		{"tcp dport { 1,\n2 } drop", []string{
			"1:15: unexpected end of line; expected " + expectedPort + " or { … }",
			`2:1: unexpected "2"; expected ` + expectedQualifier,
		}},
		{"tcp dport != drop", []string{`1:14: unexpected "drop"; expected ` + expectedPort + " or { … }"}},
		{"tcp dport ! 5 drop", []string{
			`1:11: "!" is not a port; expected ` + expectedPort,
			`1:13: unexpected "5"; expected ` + expectedQualifier,
		}},
		{"daddr <ClusterIP_1> tcp drop", []string{`1:7: placeholder "<ClusterIP_1>" is not filled in; expected ` + expectedAddress}},
		{"daddr ${LB_IP} tcp drop", []string{`1:7: placeholder "${LB_IP}" is not filled in; expected ` + expectedAddress}},
		{"daddr 10.0.0 tcp drop", []string{`1:7: "10.0.0" is not an address; expected ` + expectedAddress}},
		{"daddr 10.0.0.0/33 tcp drop", []string{`1:7: "10.0.0.0/33" has a bad prefix length, not 0-32; expected ` + expectedAddress}},
		{"daddr fe80::1%eth0 tcp drop", []string{`1:7: "fe80::1%eth0" has a zone, which no packet carries; expected ` + expectedAddress}},
		{"daddr ::ffff:10.0.0.1 tcp drop", []string{"1:1: ::ffff:10.0.0.1 is an IPv4 address written as IPv6; expected 10.0.0.1"}},
		{"ip6 daddr ::ffff:10.0.0.0/24 tcp drop", []string{"1:5: ::ffff:10.0.0.0 is an IPv4 address written as IPv6; expected 10.0.0.0"}},
		{"ip6 saddr { fd00::/8, ::ffff:10.0.0.0/95 } tcp drop", []string{"1:5: ::ffff:10.0.0.0 is an IPv4 address written as IPv6; expected 10.0.0.0"}},
		{"tcp dport 1\ndaddr ::ffff:10.0.0.0/104 tcp drop", []string{
			"1:12: unexpected end of line; expected " + expectedQualifier,
			"2:1: ::ffff:10.0.0.0 is an IPv4 address written as IPv6; expected 10.0.0.0",
		}},
		{"tcp dport 80,443 drop", []string{`1:13: unexpected ","; expected several in braces: { 80, … }`}},
		{"saddr 10.0.0.1, 10.0.0.2 tcp drop", []string{`1:15: unexpected ","; expected several in braces: { 10.0.0.1, … }`}},
		{"tcp dport 80 - 90 drop", []string{`1:14: unexpected "-"; expected a range without spaces, such as 80-90`}},
		{"ip6 daddr 10.0.0.1 tcp drop", []string{"1:5: 10.0.0.1 is an IPv4 address in an IPv6 rule; expected " + oneFamily}},
		{"saddr 10.0.0.1 daddr fd00::1 tcp drop", []string{"1:16: fd00::1 is an IPv6 address in an IPv4 rule; expected " + oneFamily}},
		{"saddr { 10.0.0.1, fd00::1 } tcp drop", []string{"1:1: fd00::1 is an IPv6 address in an IPv4 rule; expected " + oneFamily}},
		{"udp pushed drop", []string{"1:5: pushed matches TCP headers only: a UDP header has no room for the mark; expected tcp, or sport to tell pushed packets apart"}},
		{"tcp funnel", []string{"1:11: unexpected end of line; expected tcp or udp"}},
		{"tcp funnel sctp", []string{`1:12: unexpected "sctp"; expected tcp or udp`}},
		{"tcp funnel tcp", []string{
			"1:5: funnel needs the port to go through; expected dport and a port, 1-65535",
			"1:5: funnel needs an outer source port; expected sport and a port or a range (or inline)",
		}},
		{"tcp funnel tcp dport 80-81 sport 5", []string{`1:22: "80-81" is not a port; expected one port, 1-65535`}},
		{"tcp funnel tcp dport 80 sport {5}", []string{`1:31: unexpected "{"; expected ` + expectedPort}},
		{"tcp funnel tcp dport 80 sport 5 pushed", []string{`1:33: unexpected "pushed"; expected dport, sport, inline, reply or end of line`}},
		{"tcp funnel tcp dport 80 inline sport 5", []string{"1:32: inline chooses source ports itself; expected no sport"}},
		{"tcp funnel tcp dport 80 inline reply", []string{"1:32: inline answers in kind already; expected no reply"}},
		{"udp funnel tcp dport 80 inline", []string{"1:25: inline carries TCP in TCP only, and the rule matches udp; expected a tcp match"}},
		{"tcp funnel udp dport 80 inline", []string{"1:25: inline carries TCP in TCP only; expected funnel tcp"}},
		{"tcp unfunnel udp inline", []string{"1:18: inline carries TCP in TCP only; expected unfunnel tcp"}},
		{"tcp pushed unfunnel tcp inline", []string{"1:5: a pushed packet is not inline; expected either pushed or inline"}},
		{"tcp unfunnel tcp sport 540", []string{`1:18: unexpected "sport"; expected dport, inline, reply or end of line`}},
		{"tcp dport 0 sport x drop\nudp foo\nudp drop\nsport 1 drop", []string{
			"1:11: port 0 can't be used; expected " + expectedPort,
			`1:19: "x" is not a port; expected ` + expectedPort,
			`2:5: unexpected "foo"; expected ` + expectedQualifier,
			"4:1: the rule names no protocol; expected tcp or udp",
		}},
	} {
		rs, err := Parse(c.text)
		if err == nil {
			t.Errorf("%q is read as %v", c.text, rs)
			continue
		}
		if got := strings.Split(err.Error(), "\n"); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q\n got %q\nwant %q", c.text, got, c.want)
		}
	}
}

const oneFamily = "addresses of one family (write one rule for ip and one for ip6)"

func TestParseErrorsHaveTheirParts(t *testing.T) {
	_, err := Parse("tcp drop\n tcp dport http drop")
	var faults Errors
	want := SyntaxError{Position{2, 12}, "http", `"http" is not a port`, expectedPort}
	if !errors.As(err, &faults) || *faults[0] != want {
		t.Errorf("got %+v, want %+v", err, want)
	}
}

func TestParseLimitsTheNumberOfRules(t *testing.T) {
	text := strings.Repeat("tcp drop\n", MaxRules)
	if rs := mustParse(t, text); len(rs) != MaxRules {
		t.Errorf("%d rules", len(rs))
	}
	_, err := Parse(text + "udp drop\nudp drop\n")
	want := strconv.Itoa(MaxRules+1) + ":1: " + tooManyRules
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestParseEndsTheListOfFaults(t *testing.T) {
	_, err := Parse(strings.Repeat("x\n", 5000))
	var faults Errors
	if !errors.As(err, &faults) {
		t.Fatalf("got %v", err)
	}
	last := faults[len(faults)-1].Error()
	if want := "1001:1: too many faults, the rest is not listed"; len(faults) != maxFaults+1 || last != want {
		t.Errorf("%d faults, the last is %q, want %q", len(faults), last, want)
	}
}
