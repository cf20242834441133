// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

var protocolName = map[byte]string{wire.TCP: "tcp", wire.UDP: "udp"}

// payload is n octets that sum to something.
func payload(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + 13)
	}
	return p
}

func segment(protocol byte, n int) wire.Segment {
	return wire.Segment{
		Protocol: protocol, Source: 40000, Dest: 4739, Payload: payload(n),
		Seq: 0x01020304, Ack: 0xf0e0d0c0, Flags: wire.ACK | wire.PSH, Window: 501,
	}
}

// pair is a packet before and after a push.
type pair struct {
	name          string
	inner, outer  byte
	plain, pushed []byte
	// popped is plain, with its checksum if plain has none.
	popped []byte
}

// pairs are all combinations of protocols with many lengths, IP options, TCP
// options, and datagrams without checksum.
func pairs() []pair {
	var all []pair
	for _, inner := range []byte{wire.TCP, wire.UDP} {
		for _, outer := range []byte{wire.TCP, wire.UDP} {
			for n := range 70 {
				all = append(all, makePair(inner, outer, n, nil))
			}
			for _, n := range []int{127, 128, 129, 255, 256, 511, 1000, 1001, 1400, 1451, 1452, 3400} {
				all = append(all, makePair(inner, outer, n, nil))
			}
			for n := range 70 {
				all = append(all, makePair6(inner, outer, n, nil))
			}
			for _, n := range []int{127, 128, 129, 1000, 1001, 1400, 1431, 1432} {
				all = append(all, makePair6(inner, outer, n, nil))
			}
			for _, extensions := range [][]int{{1}, {2}, {8}, {1, 1, 1, 1, 1}, {1, 2, 1, 1, 3}} {
				all = append(all, makePair6(inner, outer, 41, extensions))
			}
			for options := 4; options <= 40; options += 4 {
				all = append(all, makePair(inner, outer, options*3+1, payload(options)))
			}
		}
	}
	if testing.Short() {
		return everyFifth(all)
	}
	return all
}

func everyFifth(all []pair) (some []pair) {
	for i := 0; i < len(all); i += 5 {
		some = append(some, all[i])
	}
	return some
}

func makePair(inner, outer byte, n int, options []byte) pair {
	s := segment(inner, n)
	if inner == wire.TCP && n%3 == 1 {
		s.Options = payload(n % 11 * 4)
	}
	s.NoChecksum = inner == wire.UDP && n%4 == 3
	before, after := header(inner), header(outer)
	before.Options, after.Options = options, options
	checked := s
	checked.NoChecksum = false
	return pair{
		name: fmt.Sprintf("%s through %s, %d octets, IP options %d, checksum %v",
			protocolName[inner], protocolName[outer], n, len(options), !s.NoChecksum),
		inner:  inner,
		outer:  outer,
		plain:  frame(before, s.Bytes(client, server)),
		pushed: frame(after, wire.Pushed(outer, 540, 179, s, client, server)),
		popped: frame(before, checked.Bytes(client, server)),
	}
}

// makePair6 puts destination options of such lengths, in units of 8 octets, in
// front of the segment.
func makePair6(inner, outer byte, n int, extensions []int) pair {
	s := segment(inner, n)
	if inner == wire.TCP && n%3 == 1 {
		s.Options = payload(n % 11 * 4)
	}
	before, segment := behind(inner, s.Bytes(client6, server6), extensions...)
	after, pushed := behind(outer, wire.Pushed(outer, 540, 179, s, client6, server6), extensions...)
	plain := frame(header6(before), segment)
	return pair{
		name: fmt.Sprintf("%s through %s over IPv6, %d octets, extension headers %v",
			protocolName[inner], protocolName[outer], n, extensions),
		inner:  inner,
		outer:  outer,
		plain:  plain,
		pushed: frame(header6(after), pushed),
		popped: plain,
	}
}

func pushRule(outer byte) string {
	return fmt.Sprintf("tcp dport 4739 funnel %[1]s dport 179 sport 540; udp dport 4739 funnel %[1]s dport 179 sport 540", protocolName[outer])
}

func popRule(inner byte) string {
	return fmt.Sprintf("tcp dport 179 sport 540 unfunnel %[1]s; udp dport 179 sport 540 unfunnel %[1]s", protocolName[inner])
}

func TestPushIsByteExact(t *testing.T) {
	programs := map[byte]*Programs{
		wire.TCP: mustLoad(t, pushRule(wire.TCP), pushRule(wire.TCP), ethernet),
		wire.UDP: mustLoad(t, pushRule(wire.UDP), pushRule(wire.UDP), ethernet),
	}
	for _, p := range pairs() {
		t.Run(p.name, func(t *testing.T) {
			use := programs[p.outer]
			verdict, got := runOn(t, use.Ingress, p.plain, csumComplete)
			if verdict != unspec {
				t.Errorf("ingress verdict %d", verdict)
			}
			sameFrame(t, got, p.pushed)
			if pushesDirectly() {
				verdict, got = runOn(t, use.Egress, p.plain)
				if verdict != unspec {
					t.Errorf("egress verdict %d", verdict)
				}
				sameFrame(t, got, p.pushed)
			}
			verdict, got = runOn(t, segmenting{use.Segment}, p.plain)
			if verdict != redirect {
				t.Errorf("segment verdict %d", verdict)
			}
			sameFrame(t, got, p.pushed)
		})
	}
}

func TestPopIsByteExact(t *testing.T) {
	programs := map[byte]*Programs{
		wire.TCP: mustLoad(t, popRule(wire.TCP), popRule(wire.TCP), ethernet),
		wire.UDP: mustLoad(t, popRule(wire.UDP), popRule(wire.UDP), ethernet),
	}
	for _, p := range pairs() {
		t.Run(p.name, func(t *testing.T) {
			use := programs[p.inner]
			for _, options := range [][]func(*ebpf.RunOptions){nil, {csumComplete}} {
				verdict, got := runOn(t, use.Ingress, p.pushed, options...)
				if verdict != unspec {
					t.Errorf("ingress verdict %d", verdict)
				}
				sameFrame(t, got, p.popped)
			}
			verdict, got := runOn(t, use.Egress, p.pushed)
			if verdict != unspec {
				t.Errorf("egress verdict %d", verdict)
			}
			sameFrame(t, got, p.popped)
		})
	}
}
