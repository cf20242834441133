// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// slowly is a frame of the segment with an IPv4 option or an IPv6 extension header that
// says nothing: the fast path leaves such packets to the whole way.
func (s seg) slowly(from, to netip.Addr) []byte {
	plain := s.frame(from, to)
	if from.Is6() {
		padding := []byte{wire.TCP, 0, 1, 4, 0, 0, 0, 0} // hop by hop, PadN
		return wire.Ethernet(wire.EtherTypeIPv6, wire.IPv6{NextHdr: 0, Source: from, Dest: to}.Packet(append(padding, plain[14+40:]...)))
	}
	h := wire.IPv4{Protocol: wire.TCP, Source: from, Dest: to, ID: 4711, Fragment: wire.DF, Options: []byte{1, 1, 1, 1}}
	return wire.Ethernet(wire.EtherTypeIPv4, h.Packet(plain[14+20:]))
}

// tcpOf is the TCP segment in a frame of seg.frame or seg.slowly.
func tcpOf(frame []byte) []byte {
	switch {
	case frame[12] != 0x86:
		return frame[14+int(frame[14]&15)*4:]
	case frame[14+6] == 0:
		return frame[14+40+8:]
	}
	return frame[14+40:]
}

// place is a hook of one end.
type place struct {
	end     *Programs
	program *ebpf.Program
	out     bool // from client to server
}

// both are places of a client and a backend of one flow.
func both(t *testing.T) []place {
	c, b := mustLoad(t, "", funnelInline, ethernet), mustLoad(t, unfunnelInline, "", ethernet)
	return []place{{c, c.Egress, true}, {b, b.Ingress, true}, {b, b.Egress, false}, {c, c.Ingress, false}}
}

// TestInlineFastPathIsTheWholeWay sends the same segments, most of them data, through two
// pairs of programs, one of which is kept off the fast path: nothing tells them apart.
func TestInlineFastPathIsTheWholeWay(t *testing.T) {
	for family, e := range families {
		t.Run(family, func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			fast, whole := both(t), both(t)
			x := fast[0].end.claimed(t, e, 40000)
			if again := whole[0].end.claimed(t, e, 40000); again != x {
				t.Fatalf("source ports %d and %d", x, again)
			}
			became := map[Reason]int{}
			for n := range scaled(20000) {
				at := rng.IntN(len(fast))
				s := segmentOf(rng, fast[at], x)
				reason, verdict, got := reasonOf(t, fast[at].end, fast[at].program, fast[at].frame(e, s, seg.frame))
				reasonWhole, verdictWhole, want := reasonOf(t, whole[at].end, whole[at].program, whole[at].frame(e, s, seg.slowly))
				if reason != reasonWhole || verdict != verdictWhole || verdict == unspec && !bytes.Equal(tcpOf(got), tcpOf(want)) {
					t.Fatalf("place %d, %+v: %v, verdict %d\n% x\nthe whole way: %v, verdict %d\n% x", at, s,
						reason, verdict, tcpOf(got), reasonWhole, verdictWhole, tcpOf(want))
				}
				became[reason]++
				if n%8 == 0 {
					sameFlows(t, fast[at].end, whole[at].end)
				}
				if t.Failed() {
					t.Fatalf("after place %d, %+v: %v", at, s, reason)
				}
			}
			t.Logf("%v", became)
			if became[Funneled] < 5 || became[Unfunneled] < 5 {
				t.Error("hardly any was rewritten")
			}
			for i := range fast {
				sameCounts(t, mustCount(t, fast[i].end, fast[i].program), mustCount(t, whole[i].end, whole[i].program))
			}
		})
	}
}

// TestInlineFastPathKeepsFlowsAlive: the clock of an entry goes on with data alone.
func TestInlineFastPathKeepsFlowsAlive(t *testing.T) {
	e := families["IPv4"]
	p := newInlinePair(t, e)
	p.there("SYN", seg{flags: wire.SYN})
	p.andBack("SYN-ACK", seg{flags: wire.SYN | wire.ACK, seq: 9})
	p.there("ACK", seg{flags: wire.ACK, ack: 10})
	const before = 100 // ticks
	for _, side := range []*Programs{p.client, p.backend} {
		side.each(t, func(f *flowEntry) { f.Tick, f.Stamp = f.Tick-before, f.Stamp-before })
	}
	aged := append(p.client.flows(t, bpf.EgressMapFlows), p.backend.flows(t, bpf.EgressMapFlows)...)
	p.there("data", seg{flags: wire.ACK, data: 9})
	p.andBack("answer", seg{flags: wire.ACK, data: 9})
	for i, f := range append(p.client.flows(t, bpf.EgressMapFlows), p.backend.flows(t, bpf.EgressMapFlows)...) {
		if f.Tick-aged[i].Tick < before {
			t.Errorf("%+v became %+v", aged[i], f)
		}
	}
}

// each changes the entries of the flow table.
func (p *Programs) each(t *testing.T, change func(*flowEntry)) {
	t.Helper()
	table := p.egress.maps[bpf.EgressMapFlows]
	var key flowKey
	var entry flowEntry
	changed := map[flowKey]flowEntry{}
	entries := table.Iterate()
	for entries.Next(&key, &entry) {
		change(&entry)
		changed[key] = entry
	}
	if err := entries.Err(); err != nil {
		t.Fatal(err)
	}
	for key, entry := range changed {
		if err := table.Put(&key, &entry); err != nil {
			t.Fatal(err)
		}
	}
}

func (p place) frame(e ends, s seg, write func(s seg, from, to netip.Addr) []byte) []byte {
	if p.out {
		return write(s, e.client, e.server)
	}
	return write(s, e.server, e.client)
}

// segmentOf is one that may come there, of one of a few flows that may exist; x is the
// source port of one that does.
func segmentOf(rng *rand.Rand, p place, x uint16) seg {
	pick := func(all ...uint16) uint16 { return all[rng.IntN(len(all))] }
	s := seg{
		sport: pick(40000, x, x, 2000), dport: pick(179, 179, 4739, 4739, 5000), urgent: pick(4739, 4739, 4739, 0, 0, 5000, 4740),
		flags: wire.ACK, data: rng.IntN(40), options: rng.IntN(4) * 4, seq: rng.Uint32N(3), ack: rng.Uint32N(3), // which may acknowledge a SYN-ACK
	}
	if rng.IntN(3) == 0 {
		s.flags |= wire.PSH
	}
	if rng.IntN(8) == 0 {
		flags := []byte{wire.SYN, wire.SYN | wire.ACK, wire.FIN | wire.ACK, wire.RST, wire.RST | wire.ACK, wire.URG | wire.ACK, byte(rng.Uint32())}
		s.flags = flags[rng.IntN(len(flags))]
	}
	if !p.out {
		s.sport, s.dport = s.dport, s.sport
	}
	return s
}

// sameCounts: octets differ by what was added.
func sameCounts(t *testing.T, a, b Counters) {
	t.Helper()
	for i := range a.Rules {
		if a.Rules[i].Packets != b.Rules[i].Packets {
			t.Errorf("rule %d: %d packets, the whole way %d", i, a.Rules[i].Packets, b.Rules[i].Packets)
		}
		if a.Rules[i].Packets > 0 && (a.Rules[i].Octets == 0 || a.Rules[i].Octets >= b.Rules[i].Octets) {
			t.Errorf("rule %d: %d octets, the whole way, with longer headers, %d", i, a.Rules[i].Octets, b.Rules[i].Octets)
		}
	}
}

// sameFlows: the same entries but for when, and which rules these are.
func sameFlows(t *testing.T, a, b *Programs) {
	t.Helper()
	for _, table := range []string{bpf.EgressMapFlows, bpf.EgressMapHalfOpen} {
		known := map[flowEntry]int{}
		for _, f := range a.flows(t, table) {
			f.Tick, f.Rule, f.Stamp = 0, 0, 0
			known[f]++
		}
		for _, f := range b.flows(t, table) {
			f.Tick, f.Rule, f.Stamp = 0, 0, 0
			known[f]--
		}
		for f, n := range known {
			if n != 0 {
				t.Errorf("%s: %+v is there %+d times more than the whole way", table, f, n)
			}
		}
	}
}
