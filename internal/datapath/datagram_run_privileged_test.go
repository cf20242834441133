// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// TestDatagramsGoTheShortWayAsTheWholeOne sends the same packets, most of them datagrams,
// through two programs, to one of them with an IP option that says nothing, which keeps
// them off the short way: nothing tells them apart.
func TestDatagramsGoTheShortWayAsTheWholeOne(t *testing.T) {
	for name, c := range map[string]struct {
		ingress, egress string
		hook            func(*Programs) program
		packet          func(*rand.Rand) (protocol byte, segment []byte)
	}{
		"push": {
			egress: `udp dport 53 accept
				udp dport 54 drop
				ip daddr 172.30.0.0/16 udp dport 4739-4741 funnel tcp dport 179 sport 540
				udp dport 4742 funnel udp dport 179 sport 540-547`,
			hook: pusher, packet: plainDatagram,
		},
		"push and inline, replies in kind": {
			egress: `tcp dport 80 funnel tcp dport 179 inline
				udp dport 4739-4741 funnel tcp dport 179 sport 540 reply
				udp dport 4742 funnel udp dport 179 sport 540 reply`,
			hook: pusher, packet: plainDatagram,
		},
		"answers of a backend": {
			ingress: "tcp dport 179 unfunnel udp dport 1000-1001 reply\nudp dport 179 unfunnel udp reply",
			hook:    pusher, packet: plainDatagram,
		},
		"pop": {
			ingress: `udp dport 53 accept
				udp dport 54 drop
				tcp dport 179 pushed unfunnel udp dport 4739-4741
				udp dport 179 unfunnel udp dport != 4740
				tcp dport 180 unfunnel tcp`,
			hook: ingressOf, packet: pushedDatagram,
		},
		"pop and inline, replies in kind": {
			ingress: `tcp dport 179 pushed unfunnel udp dport 4739-4741 reply
				udp dport 179 unfunnel udp reply
				tcp dport 179 unfunnel tcp inline`,
			hook: ingressOf, packet: pushedDatagram,
		},
		"answers to a client": {
			egress: "udp dport 1000-1001 funnel tcp dport 540 sport 179 reply",
			hook:   ingressOf, packet: pushedDatagram,
		},
	} {
		t.Run(name, func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			short, whole := mustLoad(t, c.ingress, c.egress, ethernet), mustLoad(t, c.ingress, c.egress, ethernet)
			for _, p := range []*Programs{short, whole} {
				p.rememberDatagrams(t)
			}
			became, seen := map[Reason]int{}, false
			for range scaled(20000) {
				protocol, segment := c.packet(rng)
				plain, optional := wire.IPv4{Protocol: protocol, Source: client, Dest: server, Fragment: wire.DF}, []byte{1, 1, 1, 1}
				if rng.IntN(40) == 0 {
					plain.Fragment = uint16(rng.Uint32())
				}
				long := plain
				long.Options = optional
				in := frame(plain, segment)
				if !seen {
					short.forgetPacket(t, c.hook(short))
				}
				reason, verdict, got := reasonOf(t, short, c.hook(short), in)
				reasonWhole, verdictWhole, want := reasonOf(t, whole, c.hook(whole), frame(long, segment))
				if reason != reasonWhole || verdict != verdictWhole || verdict == unspec && !bytes.Equal(got[14+20:], want[14+20+len(optional):]) {
					t.Fatalf("% x: %v, verdict %d\n% x\nthe whole way: %v, verdict %d\n% x", in, reason, verdict, got, reasonWhole, verdictWhole, want)
				}
				if !seen && isForShortWay(reason, segment, got) {
					seen = true
					if short.wasParsed(t, c.hook(short)) {
						t.Fatalf("% x: %v, but not the short way", in, reason)
					}
				}
				became[reason]++
			}
			t.Logf("%v", became)
			if became[Funneled]+became[Unfunneled] < 10 {
				t.Error("hardly any was rewritten")
			}
			sameCounts(t, mustCount(t, short, c.hook(short)), mustCount(t, whole, c.hook(whole)))
			sameReplies(t, short, whole)
		})
	}
}

func ingressOf(p *Programs) program { return p.Ingress }

// isForShortWay: longer ones have room in front in program runs.
func isForShortWay(reason Reason, segment, got []byte) bool {
	if reason == Unfunneled {
		return got[14+9] == wire.UDP
	}
	return reason == Funneled && len(segment) <= 200 && pushesDirectly()
}

// packetMemory is where programs keep what they know of a packet.
func (p *Programs) packetMemory(hook program) *ebpf.Map {
	if hook == program(p.Ingress) {
		return p.ingress.maps[bpf.IngressMapPackets]
	}
	return p.egress.maps[bpf.EgressMapPackets]
}

func (p *Programs) forgetPacket(t *testing.T, hook program) {
	t.Helper()
	m := p.packetMemory(hook)
	zeros := make([][]byte, ebpf.MustPossibleCPU())
	for i := range zeros {
		zeros[i] = make([]byte, m.ValueSize())
	}
	if err := m.Put(uint32(0), zeros); err != nil {
		t.Fatal(err)
	}
}

// wasParsed reports whether the last packet went the whole way, which alone looks at the
// don't-fragment bit.
func (p *Programs) wasParsed(t *testing.T, hook program) bool {
	t.Helper()
	const dontFragment = 62 // offset in struct packet
	var processors [][]byte
	if err := p.packetMemory(hook).Lookup(uint32(0), &processors); err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(processors, func(packet []byte) bool { return packet[dontFragment] != 0 })
}

// rememberDatagrams sends what packets can be answers to.
func (p *Programs) rememberDatagrams(t *testing.T) {
	t.Helper()
	for _, port := range []uint16{1000, 1001} {
		inner := wire.Segment{Protocol: wire.UDP, Source: 4739, Dest: port, Payload: []byte("question")}
		runOn(t, p.Ingress, frame(wire.IPv4{Protocol: wire.TCP, Source: server, Dest: client}, wire.Pushed(wire.TCP, 540, 179, inner, server, client)))
		if p.Segment != nil {
			runOn(t, pusher(p), frame(wire.IPv4{Protocol: wire.UDP, Source: server, Dest: client}, inner.Bytes(server, client)))
		}
	}
}

// randomDatagram is one for one of a few ports, the right one most of the time.
func randomDatagram(rng *rand.Rand) wire.Segment {
	ports := []uint16{53, 54, 4739, 4740, 4741, 4742}
	return wire.Segment{
		Protocol: wire.UDP, Source: 1000 + uint16(rng.IntN(2)), Dest: ports[rng.IntN(len(ports))],
		Payload: randomOctets(rng, rng.IntN(300)),
	}
}

func plainDatagram(rng *rand.Rand) (byte, []byte) {
	return wire.UDP, damaged(rng, randomDatagram(rng).Bytes(client, server))
}

// pushedDatagram is one with an outer header before it, or without.
func pushedDatagram(rng *rand.Rand) (byte, []byte) {
	if rng.IntN(8) == 0 {
		return plainDatagram(rng)
	}
	outer := byte(wire.TCP)
	if rng.IntN(2) == 0 {
		outer = wire.UDP
	}
	return outer, damaged(rng, wire.Pushed(outer, 540, 179+uint16(rng.IntN(2)), randomDatagram(rng), client, server))
}

// damaged changes an octet of the headers, or cuts the end off, once in a while, or
// takes the checksum of a datagram away.
func damaged(rng *rand.Rand, segment []byte) []byte {
	switch rng.IntN(12) {
	case 0:
		segment[rng.IntN(min(len(segment), 36))] ^= byte(1 << rng.IntN(8))
	case 1:
		return segment[:rng.IntN(len(segment))]
	case 2:
		binary.BigEndian.PutUint16(segment[6:], 0)
	}
	return segment
}

// sameReplies: as many flows of push are remembered.
func sameReplies(t *testing.T, a, b *Programs) {
	t.Helper()
	count := func(p *Programs) (n int) {
		table := p.egress.maps[bpf.EgressMapPushedFlows]
		if table == nil {
			return 0
		}
		var key, value []byte
		for entries := table.Iterate(); entries.Next(&key, &value); n++ {
		}
		return n
	}
	if count(a) != count(b) {
		t.Errorf("%d flows, the whole way %d", count(a), count(b))
	}
}
