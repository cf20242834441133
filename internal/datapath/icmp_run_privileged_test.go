// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// icmpError is an error without its quote; rest is the second half of its header.
type icmpError struct {
	kind, code byte
	rest       uint32
}

var icmpErrors = map[string][]icmpError{
	"IPv4": {{3, 4, 1400}, {3, 3, 0}, {3, 1, 0}, {11, 0, 0}, {12, 0, 9 << 24}},
	"IPv6": {{2, 0, 1400}, {1, 4, 0}, {1, 0, 0}, {3, 0, 0}, {4, 1, 6}},
}

// router is who sends errors on the way.
var router = map[string]netip.Addr{"IPv4": netip.MustParseAddr("192.0.2.1"), "IPv6": netip.MustParseAddr("2001:db8::1")}

// about is the frame of an error; options are those of its own IPv4 header.
func (e icmpError) about(quote []byte, from, to netip.Addr, options ...byte) []byte {
	message := wire.ICMPError(from, to, e.kind, e.code, e.rest, quote)
	if from.Is6() {
		return wire.Ethernet(wire.EtherTypeIPv6, wire.IPv6{NextHdr: wire.ICMPv6, Source: from, Dest: to, FlowLabel: 3}.Packet(message))
	}
	h := wire.IPv4{Protocol: wire.ICMP, TOS: 0xc0, ID: 9, Source: from, Dest: to, Options: options}
	return wire.Ethernet(wire.EtherTypeIPv4, h.Packet(message))
}

// quotedBy is a quote as it comes, and what the error is to quote afterwards.
type quotedBy struct {
	name     string
	programs *Programs
	program  *ebpf.Program
	to       netip.Addr // whom the error is for
	in, want []byte     // IP packets
}

func packet(frame []byte) []byte { return frame[14:] }

// l4Offset of an IP packet without extension headers.
func l4Offset(packet []byte) int {
	if packet[0]>>4 == 6 {
		return 40
	}
	return int(packet[0]&15) * 4
}

// withOptions gives an IPv4 packet options; others stay as they are.
func withOptions(packet []byte, options ...byte) []byte {
	if packet[0]>>4 == 6 || len(options) == 0 {
		return packet
	}
	h := wire.IPv4{
		TOS: packet[1], ID: binary.BigEndian.Uint16(packet[4:]), Fragment: binary.BigEndian.Uint16(packet[6:]),
		TTL: packet[8], Protocol: packet[9], Options: options,
		Source: netip.AddrFrom4([4]byte(packet[12:])), Dest: netip.AddrFrom4([4]byte(packet[16:])),
	}
	return h.Packet(packet[20:])
}

// inlineQuotes are the four ways in which errors meet inline flows.
func inlineQuotes(t *testing.T, e ends) []quotedBy {
	c, b := mustLoad(t, "", funnelInline, ethernet), mustLoad(t, unfunnelInline, "", ethernet)
	x := c.claimed(t, e, 40000)
	b.mustStep(t, step{"SYN", b.Ingress, e.out(seg{sport: 2000, dport: 179, urgent: 4739, flags: wire.SYN}), e.out(seg{sport: 2000, dport: 4739, flags: wire.SYN}), Unfunneled})
	for _, s := range []step{
		{"data", b.Ingress, e.out(seg{sport: 2001, dport: 179, urgent: 4739, flags: wire.ACK}), e.out(seg{sport: 2001, dport: 4739, flags: wire.ACK}), Unfunneled},
		{"reply", b.Egress, e.back(seg{sport: 4739, dport: 2001, flags: wire.ACK}), e.back(seg{sport: 179, dport: 2001, urgent: 4739, flags: wire.ACK}), Funneled},
	} {
		b.mustStep(t, s)
	}
	quote := func(frame func(seg) []byte, sport, dport, urgent uint16) []byte {
		return packet(frame(seg{sport: sport, dport: dport, urgent: urgent, flags: wire.ACK | wire.PSH, data: 31, options: 12, seq: 7, ack: 8}))
	}
	all := []quotedBy{
		{"what the client funneled", c, c.Ingress, e.client, quote(e.out, x, 179, 4739), quote(e.out, 40000, 4739, 0)},
		{"what the client unfunneled", c, c.Egress, e.server, quote(e.back, 4739, 40000, 0), quote(e.back, 179, x, 4739)},
	}
	for state, port := range map[string]uint16{"half open": 2000, "live": 2001} {
		all = append(all,
			quotedBy{"what the backend unfunneled, " + state, b, b.Egress, e.client, quote(e.out, port, 4739, 0), quote(e.out, port, 179, 4739)},
			quotedBy{"what the backend funneled, " + state, b, b.Ingress, e.server, quote(e.back, 179, port, 4739), quote(e.back, 4739, port, 0)})
	}
	return all
}

// mustTranslate runs the program on an error and expects another one.
func (q quotedBy) mustTranslate(t *testing.T, name string, reason Reason, in, want []byte) {
	t.Helper()
	q.programs.mustStep(t, step{q.name + ", " + name, q.program, in, want, reason})
}

// mustTranslateEveryKind has the program translate errors of all kinds, with and
// without options in their headers and in those that they quote.
func (q quotedBy) mustTranslateEveryKind(t *testing.T, family string) {
	t.Helper()
	for _, kind := range icmpErrors[family] {
		for options := 0; options <= 40; options += 20 {
			o := payload(options)
			in, want := withOptions(q.in, o...), withOptions(q.want, o...)
			q.mustTranslate(t, fmt.Sprintf("%v, %d octets of options", kind, options), ErrorTranslated,
				kind.about(in, router[family], q.to, o...), kind.less(q.outerLen()).about(want, router[family], q.to, o...))
		}
	}
}

// mustTranslateWhateverIsQuoted cuts the quote of a pushed packet, or of one that
// is to have a header again, at every length. Frames are padded, which adds
// nothing to the quote.
func (q quotedBy) mustTranslateWhateverIsQuoted(t *testing.T, family string) {
	t.Helper()
	y := q.tally(t)
	for n := range q.in {
		kind := icmpErrors[family][n%5]
		in, l4, kindAfter := q.in[:n], n-l4Offset(q.in), kind.less(q.outerLen())
		reason, want := ErrorTranslated, in
		switch {
		case l4 < 0:
			reason, kindAfter = OtherProtocol, kind
		case l4 < max(0, q.outerLen())+8:
			reason, kindAfter = ErrorShort, kind
		default:
			want = q.cut(n - q.outerLen())
		}
		padding := payload(60)
		y.mustTranslate(t, n, reason,
			append(kind.about(in, router[family], q.to), padding...), append(kindAfter.about(want, router[family], q.to), padding...))
	}
	y.check(t)
}

// tally runs programs on many errors and looks at the counters once, which takes
// longer than a run.
type tally struct {
	quotedBy
	before Counters
	want   map[Reason]uint64
}

func (q quotedBy) tally(t *testing.T) *tally {
	return &tally{q, mustCount(t, q.programs, q.program), map[Reason]uint64{}}
}

func (y *tally) mustTranslate(t *testing.T, octets int, reason Reason, in, want []byte) {
	t.Helper()
	y.want[reason]++
	if verdict, out := runOn(t, y.program, in, csumComplete); verdict != unspec || !bytes.Equal(out, want) {
		t.Errorf("%s, %d octets: verdict %d", y.name, octets, verdict)
		sameFrame(t, out, want)
	}
}

func (y *tally) check(t *testing.T) {
	t.Helper()
	after := mustCount(t, y.programs, y.program)
	for _, r := range Reasons() {
		if got := after.Reasons[r] - y.before.Reasons[r]; got != y.want[r] {
			t.Errorf("%s: counted %v %d times, want %d", y.name, r, got, y.want[r])
		}
	}
}

func TestErrorsAboutInlineFlows(t *testing.T) {
	for family, e := range families {
		t.Run(family, func(t *testing.T) {
			for _, q := range inlineQuotes(t, e) {
				q.mustTranslateEveryKind(t, family)
			}
		})
	}
}

// TestErrorsThatQuoteLittle cuts quotes of inline flows at every length. Frames
// are padded, which adds nothing to the quote.
func TestErrorsThatQuoteLittle(t *testing.T) {
	for family, e := range families {
		t.Run(family, func(t *testing.T) {
			for _, q := range inlineQuotes(t, e) {
				y := q.tally(t)
				for n := range q.in {
					kind := icmpErrors[family][n%5]
					in, l4 := q.in[:n], n-l4Offset(q.in)
					reason, want := ErrorTranslated, bytes.Clone(q.want[:n])
					switch {
					case l4 < 0:
						reason, want = OtherProtocol, in
					case l4 < 8, l4 < 20 && q.program == q.programs.Ingress && q.to == e.server:
						reason, want = ErrorShort, in
					case l4 < 20:
						copy(want[n-l4+4:], in[n-l4+4:]) // nothing but the ports
					}
					padding := payload(60)
					y.mustTranslate(t, n, reason,
						append(kind.about(in, router[family], q.to), padding...), append(kind.about(want, router[family], q.to), padding...))
				}
				y.check(t)
			}
		})
	}
}

// pushQuotes are the errors that come back to who pushes.
func pushQuotes(t *testing.T, family string) []quotedBy {
	e := families[family]
	p := mustLoad(t, "", `
		tcp dport 4739 funnel tcp dport 179 sport 540-541
		udp dport 4739 funnel tcp dport 179 sport 542-549
		tcp dport 5000 funnel udp dport 179 sport 540-541
		udp dport 5000 funnel udp dport 179 sport 542
	`, ethernet)
	var all []quotedBy
	for i, c := range []struct {
		outer, inner byte
		sport, dport uint16
	}{{wire.TCP, wire.TCP, 541, 4739}, {wire.TCP, wire.UDP, 549, 4739}, {wire.UDP, wire.TCP, 540, 5000}, {wire.UDP, wire.UDP, 542, 5000}} {
		inner := wire.Segment{Protocol: c.inner, Source: 40000, Dest: c.dport, Payload: payload(37), Seq: 77, Flags: wire.ACK, Window: 9}
		all = append(all, quotedBy{
			fmt.Sprintf("%d in %d", c.inner, c.outer), p, p.Ingress, e.client,
			ipPacket(e, c.outer, wire.Pushed(c.outer, c.sport, 179, inner, e.client, e.server), i),
			ipPacket(e, c.inner, inner.Bytes(e.client, e.server), i),
		})
	}
	return all
}

func ipPacket(e ends, protocol byte, segment []byte, id int) []byte {
	if e.client.Is6() {
		return wire.IPv6{NextHdr: protocol, Source: e.client, Dest: e.server, FlowLabel: uint32(id)}.Packet(segment)
	}
	h := wire.IPv4{Protocol: protocol, Source: e.client, Dest: e.server, ID: uint16(id), Fragment: wire.DF}
	return h.Packet(segment)
}

// outerLen is what a quote loses; negative when it gets it.
func (q quotedBy) outerLen() int { return len(q.in) - len(q.want) }

// less is the error with the MTU for packets without the outer header.
func (e icmpError) less(octets int) icmpError {
	if e.rest == 1400 {
		e.rest -= uint32(octets)
	}
	return e
}

func TestErrorsAboutPushedPackets(t *testing.T) {
	for family := range families {
		t.Run(family, func(t *testing.T) {
			for _, q := range pushQuotes(t, family) {
				q.mustTranslateEveryKind(t, family)
			}
		})
	}
}

func TestErrorsThatQuoteLittleOfPushedPackets(t *testing.T) {
	for family := range families {
		t.Run(family, func(t *testing.T) {
			for _, q := range pushQuotes(t, family) {
				q.mustTranslateWhateverIsQuoted(t, family)
			}
		})
	}
}

// cut is the beginning of what is to be quoted, with the inner checksum that was
// there where only a part of it is quoted.
func (q quotedBy) cut(n int) []byte {
	want, l4, gained := bytes.Clone(q.want), l4Offset(q.want), max(0, -q.outerLen())
	if n-l4-gained == 17 {
		want[l4+gained+16] = q.in[l4+max(0, q.outerLen())+16]
	}
	return want[:n]
}

// TestErrorsWithExtensions (RFC 4884): what follows the quote is kept, and no
// longer announced where it has moved.
func TestErrorsWithExtensions(t *testing.T) {
	for family, kinds := range map[string][2]icmpError{
		"IPv4": {{3, 4, 32<<16 | 1400}, {3, 4, 1380}},
		"IPv6": {{1, 4, 16 << 24}, {1, 4, 0}},
	} {
		q := pushQuotes(t, family)[1]
		more := payload(90)
		q.mustTranslate(t, family, ErrorTranslated, kinds[0].about(append(bytes.Clone(q.in), more...), router[family], q.to),
			kinds[1].about(append(bytes.Clone(q.want), more...), router[family], q.to))
		i := inlineQuotes(t, families[family])[0]
		i.mustTranslate(t, family, ErrorTranslated, kinds[0].about(append(bytes.Clone(i.in), more...), router[family], i.to),
			kinds[0].about(append(bytes.Clone(i.want), more...), router[family], i.to))
	}
}

// TestErrorsOfOthersStay: nothing changes when the quote is of no flow of ours.
func TestErrorsOfOthersStay(t *testing.T) {
	for family, e := range families {
		t.Run(family, func(t *testing.T) {
			for _, q := range slices.Concat(inlineQuotes(t, e), pushQuotes(t, family), replyQuotes(t, e, 37)) {
				l4 := l4Offset(q.in)
				for name, change := range map[string]func(quote []byte){
					"another source port":      func(b []byte) { b[l4] ^= 0x80 },
					"another destination port": func(b []byte) { b[l4+2] ^= 0x80 },
					"another protocol":         func(b []byte) { setProtocol(b, wire.ESP) },
					"another version":          func(b []byte) { b[0] ^= 0x10 },
					"another address":          func(b []byte) { b[l4-1] ^= 1; b[15] ^= 1 },
					"a later fragment":         func(b []byte) { setFragment(b) },
				} {
					if q.outerLen() > 0 && q.to == e.client && name == "another address" {
						continue // no rule here names one
					}
					in := bytes.Clone(q.in)
					change(in)
					frame := icmpErrors[family][1].about(in, router[family], q.to)
					q.mustTranslate(t, name, OtherProtocol, frame, frame)
				}
				kind := icmpError{kind: map[string]byte{"IPv4": 5, "IPv6": 137}[family]}
				frame := kind.about(q.in, router[family], q.to)
				q.mustTranslate(t, "a redirect", OtherProtocol, frame, frame)
			}
		})
	}
}

func setProtocol(packet []byte, protocol byte) {
	if packet[0]>>4 == 6 {
		packet[6] = protocol
		return
	}
	packet[9] = protocol
}

func setFragment(packet []byte) {
	if packet[0]>>4 == 6 {
		packet[6] = 44
		return
	}
	packet[7] = 1
}

// TestErrorsOfFragments: the first fragment of what a router cut is quoted.
func TestErrorsOfFragments(t *testing.T) {
	first := func(packet []byte) []byte {
		h := wire.IPv4{Protocol: packet[9], ID: 1, Fragment: wire.MF, Source: netip.AddrFrom4([4]byte(packet[12:])), Dest: netip.AddrFrom4([4]byte(packet[16:]))}
		return h.Packet(packet[20:])
	}
	e := families["IPv4"]
	for _, q := range slices.Concat(inlineQuotes(t, e), pushQuotes(t, "IPv4"), replyQuotes(t, e, 37)) {
		kind := icmpError{11, 1, 0}
		q.mustTranslate(t, "first fragment", ErrorTranslated, kind.about(first(q.in), router["IPv4"], q.to), kind.about(first(q.want), router["IPv4"], q.to))
	}
}

// TestErrorsWithNoise: whatever octets change, the sum of an error that was right is
// right afterwards, and one that was wrong is wrong.
func TestErrorsWithNoise(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for family, e := range families {
		quotes := slices.Concat(inlineQuotes(t, e), pushQuotes(t, family), replyQuotes(t, e, 37))
		changed := 0
		for range 10000 {
			q := quotes[rng.IntN(len(quotes))]
			in := icmpErrors[family][rng.IntN(5)].about(q.in, router[family], q.to)
			for range rng.IntN(4) {
				in[14+rng.IntN(len(in)-14)] = byte(rng.Uint32())
			}
			verdict, out := runOn(t, q.program, in)
			if verdict != unspec && verdict != shot {
				t.Fatalf("seed %d: verdict %d for % x", seed, verdict, in)
			}
			if bytes.Equal(in, out) || in[14+l4Offset(in[14:])-1] == 0 {
				continue
			}
			changed++
			if n := len(in) - len(out); n != 0 && max(n, -n) != 8 && max(n, -n) != 20 {
				t.Fatalf("seed %d: %d octets less of % x", seed, n, in)
			}
			if before, after := errorIsWhole(in), errorIsWhole(out); before != after {
				t.Fatalf("seed %d: whole %v, then %v\n% x\n% x", seed, before, after, in, out)
			}
		}
		if changed < 1000 {
			t.Errorf("%s: %d changed", family, changed)
		}
	}
}

// errorIsWhole reports whether the ICMP checksum of a frame is right.
func errorIsWhole(frame []byte) bool {
	p := packet(frame)
	if p[0]>>4 == 6 {
		end := min(len(p), 40+int(binary.BigEndian.Uint16(p[4:])))
		return wire.Sum(netip.AddrFrom16([16]byte(p[8:])), netip.AddrFrom16([16]byte(p[24:])), wire.ICMPv6, p[40:end]) == 0xffff
	}
	message := p[int(p[0]&15)*4 : min(len(p), int(binary.BigEndian.Uint16(p[2:])))]
	// The pseudo header of nothing sums to protocol and length.
	zero := netip.IPv4Unspecified()
	return wire.Sum(zero, zero, 0, append([]byte{0, 0}, message...)) == sumOfLength(len(message)+2)
}

func sumOfLength(n int) uint16 {
	return wire.Sum(netip.IPv4Unspecified(), netip.IPv4Unspecified(), 0, make([]byte, n))
}
