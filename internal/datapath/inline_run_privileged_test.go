// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/testnet"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

const (
	funnelInline   = "tcp dport 4739 funnel tcp dport 179 inline"
	unfunnelInline = "tcp dport 179 unfunnel tcp inline dport { 4739, 5000 }"
)

// ends are the addresses of a flow in one family.
type ends struct{ client, server netip.Addr }

var families = map[string]ends{
	"IPv4": {client, server},
	"IPv6": {netip.MustParseAddr("fd00:77::1:2"), netip.MustParseAddr("fd00:172::9")},
}

// seg is a TCP segment in one line.
type seg struct {
	sport, dport, urgent uint16
	flags                byte
	options, data        int
	seq, ack             uint32
}

func (s seg) frame(from, to netip.Addr) []byte {
	w := wire.Segment{
		Protocol: wire.TCP, Source: s.sport, Dest: s.dport, Urgent: s.urgent, Flags: s.flags,
		Seq: s.seq, Ack: s.ack, Window: 501, Payload: payload(s.data), Options: payload(s.options),
	}
	if from.Is6() {
		return wire.Ethernet(wire.EtherTypeIPv6, wire.IPv6{NextHdr: wire.TCP, Source: from, Dest: to}.Packet(w.Bytes(from, to)))
	}
	h := wire.IPv4{Protocol: wire.TCP, Source: from, Dest: to, ID: 4711, Fragment: wire.DF}
	return wire.Ethernet(wire.EtherTypeIPv4, h.Packet(w.Bytes(from, to)))
}

func (e ends) out(s seg) []byte  { return s.frame(e.client, e.server) }
func (e ends) back(s seg) []byte { return s.frame(e.server, e.client) }

// sourcePort reads the source port of a TCP frame without IP options.
func (e ends) sourcePort(frame []byte) uint16 {
	if e.client.Is6() {
		return binary.BigEndian.Uint16(frame[54:])
	}
	return binary.BigEndian.Uint16(frame[34:])
}

// step is a packet, the program it comes to, and what becomes of it.
type step struct {
	name     string
	program  *ebpf.Program
	in, want []byte // nil want: dropped
	reason   Reason
}

func (p *Programs) mustStep(t *testing.T, s step) {
	t.Helper()
	for _, option := range [][]func(*ebpf.RunOptions){nil, {csumComplete}} {
		reason, verdict, got := reasonOf(t, p, s.program, s.in, option...)
		if reason != s.reason {
			t.Errorf("%s: counted %v, want %v", s.name, reason, s.reason)
		}
		switch {
		case s.want == nil && verdict != shot:
			t.Errorf("%s: verdict %d, want it dropped", s.name, verdict)
		case s.want != nil && verdict != unspec:
			t.Errorf("%s: verdict %d", s.name, verdict)
		case s.want != nil:
			sameFrame(t, got, s.want)
		}
	}
}

// claimed sends a SYN through the egress program and returns the source port
// that its connection got.
func (p *Programs) claimed(t *testing.T, e ends, sport uint16) uint16 {
	t.Helper()
	syn := seg{sport: sport, dport: 4739, flags: wire.SYN, options: 20, seq: 77}
	reason, verdict, out := reasonOf(t, p, p.Egress, e.out(syn))
	if reason != Funneled || verdict != unspec {
		t.Fatalf("SYN from %d: counted %v, verdict %d", sport, reason, verdict)
	}
	exchanged := e.sourcePort(out)
	syn.sport, syn.dport, syn.urgent = exchanged, 179, 4739
	sameFrame(t, out, e.out(syn))
	return exchanged
}

func TestInlineClientRewrites(t *testing.T) {
	for family, e := range families {
		t.Run(family, func(t *testing.T) {
			p := mustLoad(t, "", funnelInline, ethernet)
			data := seg{sport: 40000, dport: 4739, flags: wire.ACK | wire.PSH, data: 33}
			p.mustStep(t, step{"older connection", p.Egress, e.out(data), e.out(data), NotClaimed})
			x := p.claimed(t, e, 40000)
			if again := p.claimed(t, e, 40000); again != x {
				t.Errorf("the SYN sent again got port %d, before %d", again, x)
			}
			if x < 1024 || (x >= 32768 && x <= 60999) {
				t.Errorf("exchanged source port %d", x)
			}
			marked := func(flags byte) seg { return seg{sport: x, dport: 179, urgent: 4739, flags: flags, data: 33} }
			answer := func(flags byte, urgent uint16) []byte {
				return e.back(seg{sport: 179, dport: x, urgent: urgent, flags: flags, data: 21, options: 12, seq: 9, ack: 78})
			}
			plain := func(flags byte) []byte {
				return e.back(seg{sport: 4739, dport: 40000, flags: flags, data: 21, options: 12, seq: 9, ack: 78})
			}
			urgent := data
			urgent.flags, urgent.urgent = wire.ACK|wire.URG, 7
			for _, s := range []step{
				{"data", p.Egress, e.out(data), e.out(marked(wire.ACK | wire.PSH)), Funneled},
				{"urgent data", p.Egress, e.out(urgent), e.out(marked(wire.ACK)), Urgent},
				{"answer", p.Ingress, answer(wire.ACK, 4739), plain(wire.ACK), Unfunneled},
				{"SYN-ACK", p.Ingress, answer(wire.ACK|wire.SYN, 4739), plain(wire.ACK | wire.SYN), Unfunneled},
				{"FIN", p.Ingress, answer(wire.ACK|wire.FIN, 4739), plain(wire.ACK | wire.FIN), Unfunneled},
				{"reset from the backend", p.Ingress, answer(wire.ACK|wire.RST, 4739), plain(wire.ACK | wire.RST), Unfunneled},
				{"reset from the way", p.Ingress, answer(wire.RST, 0), plain(wire.RST), Unfunneled},
				{"SYN-ACK of another program", p.Ingress, answer(wire.ACK|wire.SYN, 0), plain(wire.ACK | wire.RST), MarkerMissing},
				{"data of another program", p.Ingress, answer(wire.ACK|wire.PSH, 0), plain(wire.ACK | wire.RST), MarkerMissing},
				{"another marker", p.Ingress, answer(wire.ACK, 4740), plain(wire.ACK | wire.RST), MarkerMissing},
				{"urgent data of another program", p.Ingress, answer(wire.ACK|wire.URG, 4739), plain(wire.ACK | wire.RST), MarkerMissing},
				{"answer to another port", p.Ingress, e.back(seg{sport: 179, dport: x + 1, flags: wire.ACK}), e.back(seg{sport: 179, dport: x + 1, flags: wire.ACK}), NoMatch},
			} {
				p.mustStep(t, s)
			}
		})
	}
}

func TestInlineBackendRewrites(t *testing.T) {
	for family, e := range families {
		t.Run(family, func(t *testing.T) {
			p := mustLoad(t, unfunnelInline, "", ethernet)
			in := func(flags byte, urgent uint16) []byte {
				return e.out(seg{sport: 2000, dport: 179, urgent: urgent, flags: flags, data: 10, options: 8, seq: 5, ack: 101})
			}
			inner := func(flags byte, port uint16) []byte {
				return e.out(seg{sport: 2000, dport: port, flags: flags, data: 10, options: 8, seq: 5, ack: 101})
			}
			reply := func(flags byte) []byte {
				return e.back(seg{sport: 4739, dport: 2000, flags: flags, data: 3, seq: 100, ack: 6})
			}
			marked := func(flags byte) []byte {
				return e.back(seg{sport: 179, dport: 2000, urgent: 4739, flags: flags, data: 3, seq: 100, ack: 6})
			}
			otherThrough := e.out(seg{sport: 2000, dport: 180, urgent: 4739, flags: wire.ACK})
			for _, s := range []step{
				{"unknown reply", p.Egress, reply(wire.ACK), reply(wire.ACK), NoMatch},
				{"ordinary SYN", p.Ingress, in(wire.SYN, 0), in(wire.SYN, 0), Unmarked},
				{"ordinary urgent data", p.Ingress, in(wire.ACK|wire.URG, 4739), in(wire.ACK|wire.URG, 4739), Unmarked},
				{"other inner port", p.Ingress, in(wire.SYN, 4740), nil, InnerPort},
				{"reset of a flow that is not known", p.Ingress, in(wire.RST, 4739), inner(wire.RST, 4739), Unfunneled},
				{"which leaves no entry", p.Egress, reply(wire.ACK), reply(wire.ACK), NoMatch},
				{"SYN", p.Ingress, in(wire.SYN, 4739), inner(wire.SYN, 4739), Unfunneled},
				{"SYN-ACK", p.Egress, reply(wire.SYN | wire.ACK), marked(wire.SYN | wire.ACK), Funneled},
				{"SYN of another flow that looks the same", p.Ingress, inner(wire.SYN, 4739), nil, TupleClash},
				{"ACK", p.Ingress, in(wire.ACK, 4739), inner(wire.ACK, 4739), Unfunneled},
				{"data", p.Ingress, in(wire.ACK|wire.PSH, 4739), inner(wire.ACK|wire.PSH, 4739), Unfunneled},
				{"reply", p.Egress, reply(wire.ACK), marked(wire.ACK), Funneled},
				{"urgent reply", p.Egress, reply(wire.ACK | wire.URG), marked(wire.ACK), Urgent},
				{"the same under another through port", p.Ingress, otherThrough, nil, TupleClash},
				{"SYN that looks the same as an open flow", p.Ingress, inner(wire.SYN, 4739), nil, TupleClash},
				{"data that looks the same", p.Ingress, inner(wire.ACK, 4739), inner(wire.ACK, 4739), NoMatch},
				{"port without a server", p.Ingress, in(wire.SYN, 5000), inner(wire.SYN, 5000), Unfunneled},
				{"refused", p.Egress, e.back(seg{sport: 5000, dport: 2000, flags: wire.RST | wire.ACK}),
					e.back(seg{sport: 179, dport: 2000, urgent: 5000, flags: wire.RST | wire.ACK}), Funneled},
			} {
				p.mustStep(t, s)
			}
		})
	}
}

// TestInlineBackendRecovers: entries are gone, or the flow is older than the
// program. A segment makes one anew, and an answer gives it its place.
func TestInlineBackendRecovers(t *testing.T) {
	p := mustLoad(t, unfunnelInline, "", ethernet)
	e := families["IPv4"]
	for _, s := range []step{
		{"data", p.Ingress, e.out(seg{sport: 2000, dport: 179, urgent: 4739, flags: wire.ACK, data: 9}), e.out(seg{sport: 2000, dport: 4739, flags: wire.ACK, data: 9}), Unfunneled},
		{"reply", p.Egress, e.back(seg{sport: 4739, dport: 2000, flags: wire.ACK}), e.back(seg{sport: 179, dport: 2000, urgent: 4739, flags: wire.ACK}), Funneled},
	} {
		p.mustStep(t, s)
	}
	if flows, halfOpen := p.entries(t, bpf.EgressMapFlows), p.entries(t, bpf.EgressMapHalfOpen); flows != 1 || halfOpen != 0 {
		t.Errorf("%d live and %d half-open entries", flows, halfOpen)
	}
}

// entries counts the entries of a table.
func (p *Programs) entries(t testing.TB, table string) int {
	t.Helper()
	return len(p.flows(t, table))
}

// flows are the entries of a table.
func (p *Programs) flows(t testing.TB, table string) (all []flowEntry) {
	t.Helper()
	var key flowKey
	var entry flowEntry
	entries := p.egress.maps[table].Iterate()
	for entries.Next(&key, &entry) {
		all = append(all, entry)
	}
	if err := entries.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestInlineThereAndBack sends segments of many shapes from client to backend
// and answers back: but for the source port all come out as they went in.
func TestInlineThereAndBack(t *testing.T) {
	for family, e := range families {
		t.Run(family, func(t *testing.T) {
			c, b := mustLoad(t, "", funnelInline, ethernet), mustLoad(t, unfunnelInline, "", ethernet)
			for n := range 200 {
				s := seg{sport: uint16(40000 + n), dport: 4739, flags: wire.SYN, data: n * 7, options: n % 11 * 4, seq: uint32(n) << 24}
				_, travels := runOn(t, c.Egress, e.out(s))
				_, arrives := runOn(t, b.Ingress, travels)
				x := e.sourcePort(travels)
				want := s
				want.sport = x
				sameFrame(t, arrives, e.out(want))
				answer := seg{sport: 4739, dport: x, flags: wire.SYN | wire.ACK, data: n * 3, options: n % 7 * 4}
				_, travels = runOn(t, b.Egress, e.back(answer))
				_, arrives = runOn(t, c.Ingress, travels)
				answer.dport = s.sport
				sameFrame(t, arrives, e.back(answer))
			}
		})
	}
}

// limited loads the client with few flows or few ports.
func limited(t *testing.T, flows int, local rules.PortRange) *Programs {
	t.Helper()
	testnet.RequireRoot(t)
	p, err := Load(Config{Egress: mustCompile(t, funnelInline), Interface: ethernet, Flows: flows, LocalPorts: local})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// syn sends one and returns what was counted.
func (p *Programs) syn(t *testing.T, e ends, sport uint16) Reason {
	t.Helper()
	reason, _, _ := reasonOf(t, p, p.Egress, e.out(seg{sport: sport, dport: 4739, flags: wire.SYN}))
	return reason
}

// untilFree repeats a SYN until the connection gets what it needs.
func (p *Programs) untilFree(t *testing.T, e ends, sport uint16) {
	t.Helper()
	if !p.within(t, func() bool { return p.syn(t, e, sport) == Funneled }) {
		t.Errorf("SYN from %d: still nothing free", sport)
	}
}

// within reports whether something becomes so, and waits for it.
func (p *Programs) within(t *testing.T, holds func() bool) bool {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if holds() {
			return true
		}
	}
	return false
}

// sourcesAreCounted checks that flows use as many source ports as are counted.
func (p *Programs) sourcesAreCounted(t *testing.T) {
	t.Helper()
	flows, used := 0, uint32(0)
	for _, f := range p.flows(t, bpf.EgressMapFlows) {
		if f.Kind == flowForward {
			flows++
		}
	}
	sources := p.egress.maps[bpf.EgressMapSources]
	counters := make([]uint32, sources.ValueSize()/sourceSize)
	if err := sources.Lookup(uint32(0), counters); err != nil {
		t.Fatal(err)
	}
	for _, n := range counters {
		used += n
	}
	if int(used) != flows {
		t.Errorf("%d source ports are counted as used, by %d flows", used, flows)
	}
}

func TestInlineTableFull(t *testing.T) {
	const flows = 5
	p := limited(t, flows, rules.PortRange{First: 32768, Last: 60999})
	e := families["IPv4"]
	var ports [flows]uint16
	for i := range flows {
		ports[i] = p.claimed(t, e, uint16(40000+i))
	}
	for range 3 {
		if got := p.syn(t, e, 41000); got != FlowsFull {
			t.Errorf("one more: counted %v", got)
		}
	}
	if n := p.entries(t, bpf.EgressMapFlows); n > flows*entriesFunneled+1 {
		t.Errorf("%d entries", n)
	}
	for i, x := range ports {
		p.mustStep(t, step{"answer of an open flow", p.Ingress, e.back(seg{sport: 179, dport: x, urgent: 4739, flags: wire.ACK}),
			e.back(seg{sport: 4739, dport: uint16(40000 + i), flags: wire.ACK}), Unfunneled})
	}
	reset := seg{sport: 40002, dport: 4739, flags: wire.RST}
	if reason, _, _ := reasonOf(t, p, p.Egress, e.out(reset)); reason != Funneled {
		t.Errorf("reset: counted %v", reason)
	}
	p.untilFree(t, e, 41000)
	p.sourcesAreCounted(t)
}

// TestALargeTableMakesAllItsRoom: its next sweep is far off, however many flows have been
// over for long at this one.
func TestALargeTableMakesAllItsRoom(t *testing.T) {
	const flows, long = sweepEntries, 300
	p := limited(t, flows, rules.PortRange{})
	for i := range flows {
		e := ends{client, netip.AddrFrom4([4]byte{172, 30, 1, byte(i / 2048)})}
		runOn(t, p.Egress, e.out(seg{sport: uint16(40000 + i%2048), dport: 4739, flags: wire.SYN}))
	}
	if n := p.entries(t, bpf.EgressMapFlows); n != flows*entriesFunneled {
		t.Fatalf("%d entries", n)
	}
	seen := 0
	p.each(t, func(f *flowEntry) {
		age := 10 * time.Second
		if seen++; seen <= long {
			age = 61 * time.Second
		}
		f.State, f.Tick = flowAnswered|flowFins, f.Tick-uint32(age>>tickShift)
	})
	for i := range 2 * long {
		if got := p.syn(t, families["IPv4"], uint16(40000+i)); got != Funneled {
			t.Fatalf("after %d more: counted %v", i, got)
		}
	}
}

func TestInlinePortsRunOut(t *testing.T) {
	p := limited(t, 0, rules.PortRange{First: 1026, Last: 65534}) // leaves 1024, 1025 and 65535
	e := families["IPv4"]
	got := map[uint16]bool{}
	for i := range 3 {
		got[p.claimed(t, e, uint16(40000+i))] = true
	}
	if len(got) != 3 || !got[1024] || !got[1025] || !got[65535] {
		t.Errorf("got ports %v", got)
	}
	if reason := p.syn(t, e, 41000); reason != NoPort {
		t.Errorf("one more: counted %v", reason)
	}
	elsewhere := ends{e.client, netip.MustParseAddr("172.30.201.10")}
	for _, sport := range []uint16{41000, 41003, 41006} {
		if reason := p.syn(t, elsewhere, sport); reason != Funneled {
			t.Errorf("the same ports to another destination, from %d: counted %v", sport, reason)
		}
	}
	if reason, _, _ := reasonOf(t, p, p.Egress, e.out(seg{sport: 40001, dport: 4739, flags: wire.RST})); reason != Funneled {
		t.Errorf("reset: counted %v", reason)
	}
	p.untilFree(t, e, 41000)
	p.sourcesAreCounted(t)
}

// TestInlinePortOfOneDestination: a source port that is used with one
// destination is not used with another as long as there are others.
func TestInlinePortOfOneDestination(t *testing.T) {
	p := limited(t, 0, rules.PortRange{First: 1064, Last: 65535}) // leaves 40
	seen := map[uint16]bool{}
	for i := range 40 {
		e := ends{client, netip.AddrFrom4([4]byte{172, 30, 1, byte(i)})}
		x := p.claimed(t, e, 40000)
		if seen[x] {
			t.Fatalf("port %d twice", x)
		}
		seen[x] = true
	}
}

// TestInlinePortIsTheSameAgain: once its entry is gone, a connection from the same
// port travels as the earlier one did. What the server still has of that one in
// TIME_WAIT lets it in then, because timestamps went on.
func TestInlinePortIsTheSameAgain(t *testing.T) {
	for family, e := range families {
		t.Run(family, func(t *testing.T) {
			first := mustLoad(t, "", funnelInline, ethernet)
			again := mustLoad(t, "", funnelInline, ethernet)
			seen := map[uint16]bool{}
			for _, sport := range []uint16{40000, 40001, 40007, 50000} {
				x := first.claimed(t, e, sport)
				if y := again.claimed(t, e, sport); y != x {
					t.Errorf("port %d got %d, the next time %d", sport, x, y)
				}
				if seen[x] {
					t.Errorf("port %d got %d, as another did", sport, x)
				}
				seen[x] = true
			}
		})
	}
}

func TestInlineDirectConnections(t *testing.T) {
	p := limited(t, 0, rules.PortRange{First: 1026, Last: 65535}) // leaves 1024 and 1025
	e := families["IPv4"]
	x := p.claimed(t, e, 40000)
	other := 1024 + 1025 - x
	syn := func(sport uint16) []byte { return e.out(seg{sport: sport, dport: 179, flags: wire.SYN}) }
	back := func(dport uint16) []byte { return e.back(seg{sport: 179, dport: dport, flags: wire.ACK | wire.SYN}) }
	for _, s := range []step{
		{"the kernel's ports are no concern", p.Egress, syn(40000), syn(40000), NoMatch},
		{"port of a funneled flow", p.Egress, syn(x), syn(other), Direct},
		{"its answer", p.Ingress, back(other), back(x), Direct},
		{"segment of an older connection", p.Egress, e.out(seg{sport: other, dport: 179, flags: wire.ACK}), e.out(seg{sport: other, dport: 179, flags: wire.ACK}), NoMatch},
	} {
		p.mustStep(t, s)
	}
	q := limited(t, 0, rules.PortRange{First: 1026, Last: 65535})
	q.mustStep(t, step{"free port", q.Egress, syn(1024), syn(1024), Direct})
	for i := range 5 {
		if x := q.claimed(t, ends{client, netip.AddrFrom4([4]byte{172, 30, 1, byte(i)})}, 40000); i == 0 && x == 1024 {
			t.Error("a funneled flow got the port of a direct one")
		}
	}
}

// TestInlineTruncatedAndRandomPackets: what is not a whole TCP segment stays as
// it is; what is and was right is right afterwards.
func TestInlineTruncatedAndRandomPackets(t *testing.T) {
	p := mustLoad(t, "tcp unfunnel tcp inline", "tcp funnel tcp dport 179 inline", ethernet)
	whole := seg{sport: 40000, dport: 4739, flags: wire.SYN, data: 20, options: 8}.frame(client, server)
	for n := shortestRun; n < len(whole); n++ {
		reason, verdict, out := reasonOf(t, p, p.Egress, whole[:n])
		if verdict != unspec || (reason != Short && reason != BadLength) {
			t.Errorf("%d octets: verdict %d, counted %v", n, verdict, reason)
		}
		sameFrame(t, out, whole[:n])
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	changed := 0
	templates := pairs()[:100]
	for range scaled(20000) {
		in := noise(rng, templates)
		for _, program := range []*ebpf.Program{p.Egress, p.Ingress} {
			_, out := runOn(t, program, in)
			if bytes.Equal(in, out) || hasExtension(in) {
				continue
			}
			changed++
			if !sound(in) || !sameElsewhere(in, out) {
				t.Fatalf("seed %d: % x\nbecame % x", seed, in, out)
			}
			_, before := wire.Parse(in[14:])
			if _, after := wire.Parse(out[14:]); (before == nil) != (after == nil) {
				t.Fatalf("seed %d: %v, then %v: % x", seed, before, after, out)
			}
		}
	}
	t.Logf("%d packets changed", changed)
	if changed == 0 {
		t.Error("none was")
	}
}

// hasExtension reports whether noise made an IPv6 extension header.
func hasExtension(frame []byte) bool {
	return frame[12] == 0x86 && (frame[14+6] == 0 || frame[14+6] == 43 || frame[14+6] == 60)
}

// sameElsewhere reports whether two frames differ in ports, flags, checksum and
// urgent pointer of the TCP header only.
func sameElsewhere(a, b []byte) bool {
	l4, protocol := 14+int(a[14]&15)*4, a[14+9]
	if a[12] == 0x86 {
		l4, protocol = 14+40, a[14+6]
	}
	if protocol != wire.TCP {
		return false
	}
	mask := func(f []byte) []byte {
		f = bytes.Clone(f)
		clear(f[l4 : l4+4])
		f[l4+13] = 0
		clear(f[l4+16 : l4+20])
		return f
	}
	return bytes.Equal(mask(a), mask(b))
}
