// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/internal/rules/rulestest"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// One rule for each pair of protocols: the port says what is outside, the outer
// source port what is inside.
const (
	pushAny = `tcp dport 4739 funnel tcp dport 179 sport 540; udp dport 4739 funnel tcp dport 179 sport 541
		tcp dport 4740 funnel udp dport 179 sport 540; udp dport 4740 funnel udp dport 179 sport 541`
	popAny = `tcp dport 179 sport 540 unfunnel tcp; tcp dport 179 sport 541 unfunnel udp
		udp dport 179 sport 540 unfunnel tcp; udp dport 179 sport 541 unfunnel udp`
)

// checksumStates are those that a program run can have: nobody looked at the
// checksum, or a device has summed the packet. Runs with the latter fail when
// the sum is not that of the packet afterwards.
var checksumStates = [][]func(*ebpf.RunOptions){nil, {csumComplete}}

func randomOctets(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// randomHeader is an IP header of either family between random hosts.
func randomHeader(rng *rand.Rand, protocol byte) (h wire.Header, source, dest netip.Addr) {
	if rng.IntN(2) == 0 {
		source, dest = netip.AddrFrom16([16]byte(randomOctets(rng, 16))), netip.AddrFrom16([16]byte(randomOctets(rng, 16)))
		return wire.IPv6{
			NextHdr: protocol, Source: source, Dest: dest,
			FlowLabel: rng.Uint32() >> 4, HopLimit: byte(rng.Uint32()),
		}, source, dest
	}
	source, dest = netip.AddrFrom4([4]byte(randomOctets(rng, 4))), netip.AddrFrom4([4]byte(randomOctets(rng, 4)))
	return wire.IPv4{
		Protocol: protocol, Source: source, Dest: dest, TOS: byte(rng.Uint32()), ID: uint16(rng.Uint32()),
		Fragment: uint16(rng.IntN(2)) * wire.DF, TTL: byte(rng.Uint32()), Options: randomOctets(rng, max(0, rng.IntN(14)-3)*4),
	}, source, dest
}

// withProtocol is the header for another protocol.
func withProtocol(h wire.Header, protocol byte) wire.Header {
	switch h := h.(type) {
	case wire.IPv4:
		h.Protocol = protocol
		return h
	case wire.IPv6:
		h.NextHdr = protocol
		return h
	}
	return h
}

// randomSegment has no options in a SYN, whose MSS is something to be changed.
func randomSegment(rng *rand.Rand, protocol byte, dest uint16) wire.Segment {
	s := wire.Segment{
		Protocol: protocol, Source: uint16(rng.Uint32()), Dest: dest,
		Payload: randomOctets(rng, rng.IntN(1<<(4+rng.IntN(7)))),
		Seq:     rng.Uint32(), Ack: rng.Uint32(), Flags: byte(rng.Uint32()), Window: uint16(rng.Uint32()), Urgent: uint16(rng.Uint32()),
		NoChecksum: rng.IntN(4) == 0,
	}
	if s.Flags&wire.SYN == 0 {
		s.Options = randomOctets(rng, rng.IntN(11)*4)
	}
	return s
}

// TestRandomPacketsComeBack pushes random packets and pops them again: what
// travels is what the independent builder makes of them, and what comes back is
// what they were.
func TestRandomPacketsComeBack(t *testing.T) {
	rng := rulestest.New(rulestest.Seed(t))
	here, there := mustLoad(t, pushAny, pushAny, ethernet), mustLoad(t, popAny, popAny, ethernet)
	for range scaled(4000) {
		outer, inner := pickProtocol(rng), pickProtocol(rng)
		h, source, dest := randomHeader(rng, inner)
		s := randomSegment(rng, inner, uint16(4739+map[byte]int{wire.TCP: 0, wire.UDP: 1}[outer]))
		s.NoChecksum = s.NoChecksum && inner == wire.UDP && source.Is4()
		plain := frame(h, s.Bytes(source, dest))
		s.NoChecksum = false
		whole := frame(h, s.Bytes(source, dest))
		outerSource := uint16(540 + map[byte]int{wire.TCP: 0, wire.UDP: 1}[inner])
		pushed := frame(withProtocol(h, outer), wire.Pushed(outer, outerSource, 179, s, source, dest))
		for _, state := range checksumStates {
			_, got := runOn(t, here.Ingress, plain, state...)
			sameFrame(t, got, pushed)
			_, got = runOn(t, there.Ingress, pushed, state...)
			sameFrame(t, got, whole)
		}
		_, got := runOn(t, pusher(here), plain)
		sameFrame(t, got, pushed)
		_, got = runOn(t, there.Egress, pushed)
		sameFrame(t, got, whole)
		if t.Failed() {
			t.FailNow()
		}
	}
}

func pickProtocol(rng *rand.Rand) byte {
	if rng.IntN(2) == 0 {
		return wire.TCP
	}
	return wire.UDP
}

// TestRandomSegmentsComeBack sends random segments of inline connections from
// client to backend and back. All that differs is the client's port, as the
// backend sees it, and URG, which is cleared.
func TestRandomSegmentsComeBack(t *testing.T) {
	rng := rulestest.New(rulestest.Seed(t))
	here, there := mustLoad(t, "", funnelInline, ethernet), mustLoad(t, unfunnelInline, "", ethernet)
	for range scaled(1500) {
		h, source, dest := randomHeader(rng, wire.TCP)
		for i := range 2 {
			s := randomSegment(rng, wire.TCP, 4739)
			s.Source, s.Flags = 40000, s.Flags&^(wire.SYN|wire.RST|wire.FIN)|wire.ACK
			if i == 0 {
				s.Flags = wire.SYN
			}
			_, travels := runOn(t, here.Egress, frame(h, s.Bytes(source, dest)))
			x := binary.BigEndian.Uint16(travels[len(travels)-len(s.Bytes(source, dest)):])
			s.Flags &^= wire.URG
			want := s
			want.Source, want.Dest, want.Urgent = x, 179, 4739
			sameFrame(t, travels, frame(h, want.Bytes(source, dest)))
			want.Dest, want.Urgent = 4739, 0
			for _, state := range checksumStates {
				_, arrives := runOn(t, there.Ingress, travels, state...)
				sameFrame(t, arrives, frame(h, want.Bytes(source, dest)))
			}
			answerComesBack(t, rng, here, there, h, x, i == 0)
			if t.Failed() {
				t.FailNow()
			}
		}
	}
}

// answerComesBack sends a random answer from the backend to the client, who
// reached it from port x.
func answerComesBack(t *testing.T, rng *rand.Rand, here, there *Programs, h wire.Header, x uint16, first bool) {
	t.Helper()
	h, source, dest := turned(h)
	s := randomSegment(rng, wire.TCP, x)
	s.Source, s.Flags = 4739, s.Flags&^(wire.SYN|wire.RST|wire.FIN)|wire.ACK
	if first {
		s.Flags, s.Options = wire.SYN|wire.ACK, nil
	}
	_, travels := runOn(t, there.Egress, frame(h, s.Bytes(source, dest)))
	s.Flags &^= wire.URG
	want := s
	want.Source, want.Urgent = 179, 4739
	sameFrame(t, travels, frame(h, want.Bytes(source, dest)))
	want.Source, want.Dest, want.Urgent = 4739, 40000, 0
	for _, state := range checksumStates {
		_, arrives := runOn(t, here.Ingress, travels, state...)
		sameFrame(t, arrives, frame(h, want.Bytes(source, dest)))
	}
}

// turned is the header with its addresses exchanged.
func turned(h wire.Header) (out wire.Header, source, dest netip.Addr) {
	switch h := h.(type) {
	case wire.IPv4:
		h.Source, h.Dest = h.Dest, h.Source
		return h, h.Source, h.Dest
	case wire.IPv6:
		h.Source, h.Dest = h.Dest, h.Source
		return h, h.Source, h.Dest
	}
	panic("header of a third family")
}

// TestRandomPushedPacketsPopRight changes octets of pushed packets. What is
// popped nevertheless is a sound packet, with a checksum as right as before.
func TestRandomPushedPacketsPopRight(t *testing.T) {
	rng := rulestest.New(rulestest.Seed(t))
	programs := mustLoad(t, popAny, "", ethernet)
	popped, dropped := 0, 0
	// Noise that makes a packet one to be dropped is rare: on until there was some.
	for n := 0; n < scaled(20000) || (popped == 0 || dropped == 0) && n < 20000; n++ {
		outer, inner := pickProtocol(rng), pickProtocol(rng)
		h, source, dest := randomHeader(rng, outer)
		s := randomSegment(rng, inner, 4739)
		s.NoChecksum = false
		outerSource := uint16(540 + map[byte]int{wire.TCP: 0, wire.UDP: 1}[inner])
		in := noise(rng, []pair{{plain: frame(h, wire.Pushed(outer, outerSource, 179, s, source, dest))}})
		verdict, out := runOn(t, programs.Ingress, in, csumComplete)
		switch {
		case verdict == shot:
			dropped++
		case verdict != unspec:
			t.Fatalf("verdict %d on % x", verdict, in)
		case bytes.Equal(in, out):
		case !sound(in) || !sound(out):
			t.Fatalf("% x\nbecame % x", in, out)
		default:
			popped++
			mustStayAsRight(t, in, out)
		}
	}
	t.Logf("%d popped, %d dropped", popped, dropped)
	if popped == 0 || dropped == 0 {
		t.Error("not both happened")
	}
}

// mustStayAsRight compares what the checksums say before and after a pop.
func mustStayAsRight(t *testing.T, in, out []byte) {
	t.Helper()
	before, _ := wire.Parse(in[14:])
	after, wrongAfter := wire.Parse(out[14:])
	if before.Segment == nil && after.Segment == nil {
		return // noise in the IP header
	}
	_, wrongBefore := before.Inner(after.Protocol)
	if after.Protocol == wire.UDP && (wrongBefore != nil && looksAbsent(before) || wrongBefore == nil && saysAbsent(before)) {
		return
	}
	if before.Segment == nil || after.Segment == nil || (wrongBefore == nil) != (wrongAfter == nil) {
		t.Fatalf("inner checksum: %v, popped: %v\n% x\nbecame % x", wrongBefore, wrongAfter, in, out)
	}
}

// saysAbsent reports whether the inner checksum of a pushed datagram is 0, which no sender of
// ours makes of one: damage that looks like a datagram without a checksum.
func saysAbsent(pushed wire.Parsed) bool {
	return len(pushed.Payload) >= 8 && binary.BigEndian.Uint16(pushed.Payload[6:]) == 0
}

// looksAbsent reports whether the inner checksum of a pushed datagram is what the existing
// peer makes of a datagram without one: nothing, with the addresses taken out. One in 65,535
// damaged checksums is, too, and can't be told from it: settle_udp_check.
func looksAbsent(pushed wire.Parsed) bool {
	if !pushed.Source.Is4() || len(pushed.Payload) < 8 {
		return false
	}
	sum := uint32(^binary.BigEndian.Uint16(pushed.Payload[6:]))
	for _, addr := range []netip.Addr{pushed.Source, pushed.Dest} {
		word := binary.BigEndian.Uint32(addr.AsSlice())
		sum += word>>16 + word&0xffff
	}
	return sum%0xffff == 0
}

// TestTruncatedPacketsOfEveryMode cuts packets of every mode and family at every
// length that a run takes, under programs that do all there is to do. What is cut
// is never rewritten: the IP header tells that something is missing.
func TestTruncatedPacketsOfEveryMode(t *testing.T) {
	all := mustLoad(t, popAny+"; tcp unfunnel tcp inline", pushAny+"; tcp funnel tcp dport 179 inline", ethernet)
	inline := seg{sport: 2000, dport: 179, urgent: 4739, flags: wire.SYN, data: 20, options: 8}
	wholes := [][]byte{families["IPv4"].out(inline), families["IPv6"].out(inline)}
	for _, outer := range []byte{wire.TCP, wire.UDP} {
		for _, inner := range []byte{wire.TCP, wire.UDP} {
			for _, p := range []pair{makePair(inner, outer, 24, nil), makePair(inner, outer, 24, payload(12)), makePair6(inner, outer, 24, nil), makePair6(inner, outer, 24, []int{1})} {
				wholes = append(wholes, p.plain, p.pushed)
			}
		}
	}
	runs := 0
	for _, whole := range wholes {
		shortest := shortestRun
		if whole[12] == 0x86 {
			shortest = shortestRun6
		}
		for n := shortest; n < len(whole); n++ {
			for _, program := range []*ebpf.Program{all.Ingress, all.Egress} {
				reason, verdict, out := reasonOf(t, all, program, whole[:n])
				if verdict != unspec || !slices.Contains([]Reason{Short, BadLength}, reason) {
					t.Errorf("%d of %d octets: verdict %d, counted %v", n, len(whole), verdict, reason)
				}
				sameFrame(t, out, whole[:n])
				runs++
			}
		}
	}
	t.Logf("%d packets", runs)
}
