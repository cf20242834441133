// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"
	"testing"
	"time"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/testnet"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// inlinePair is a client and a backend, and the segments of one flow between them.
type inlinePair struct {
	t               *testing.T
	client, backend *Programs
	ends
	x uint16 // the exchanged source port
}

func newInlinePair(t *testing.T, e ends) *inlinePair {
	p := &inlinePair{t: t, client: mustLoad(t, "", funnelInline, ethernet), backend: mustLoad(t, unfunnelInline, "", ethernet), ends: e}
	p.x = p.client.claimed(t, e, 40000)
	return p
}

// there sends a segment of the client to the backend; both sides must know it.
func (p *inlinePair) there(name string, s seg) {
	p.t.Helper()
	s.sport, s.dport = 40000, 4739
	inside, travels := s, s
	inside.sport = p.x
	travels.sport, travels.dport, travels.urgent = p.x, 179, 4739
	p.client.mustStep(p.t, step{name + ", client", p.client.Egress, p.out(s), p.out(travels), Funneled})
	p.backend.mustStep(p.t, step{name + ", backend", p.backend.Ingress, p.out(travels), p.out(inside), Unfunneled})
}

// andBack sends a segment of the backend to the client.
func (p *inlinePair) andBack(name string, s seg) {
	p.t.Helper()
	s.sport, s.dport = 4739, p.x
	inside, travels := s, s
	inside.dport = 40000
	travels.sport, travels.urgent = 179, 4739
	p.backend.mustStep(p.t, step{name + ", backend", p.backend.Egress, p.back(s), p.back(travels), Funneled})
	p.client.mustStep(p.t, step{name + ", client", p.client.Ingress, p.back(travels), p.back(inside), Unfunneled})
}

// live says how many entries the backend has: live ones and half-open ones.
func (p *inlinePair) live(name string, flows, halfOpen int) {
	p.t.Helper()
	f, early, h := p.backend.unfunneled(p.t)
	if f != flows || early+h != halfOpen {
		p.t.Errorf("%s: %d live and %d half-open flows, want %d and %d", name, f, early+h, flows, halfOpen)
	}
}

// unfunneled counts the flows that a backend knows: live ones, half-open ones among
// those, and half-open ones that replace each other.
func (p *Programs) unfunneled(t testing.TB) (live, early, halfOpen int) {
	t.Helper()
	for _, f := range p.flows(t, bpf.EgressMapFlows) {
		if f.State&flowEarly != 0 {
			early++
		} else {
			live++
		}
	}
	return live, early, p.entries(t, bpf.EgressMapHalfOpen)
}

// TestInlineLives takes a flow through what TCP can do with it.
func TestInlineLives(t *testing.T) {
	const syn, ack, fin, rst = wire.SYN, wire.ACK, wire.FIN, wire.RST
	for family, e := range families {
		t.Run(family, func(t *testing.T) {
			p := newInlinePair(t, e)
			p.there("SYN", seg{flags: syn, seq: 77})
			p.there("SYN again", seg{flags: syn, seq: 77})
			p.live("SYN sent twice", 0, 1)
			p.andBack("SYN-ACK", seg{flags: syn | ack, seq: 100, ack: 78})
			p.andBack("SYN-ACK again", seg{flags: syn | ack, seq: 100, ack: 78})
			p.live("not acknowledged", 0, 1)
			p.there("ACK", seg{flags: ack, seq: 78, ack: 101})
			p.live("open", 1, 0)
			p.there("data", seg{flags: ack, seq: 78, ack: 101, data: 40})
			p.there("keepalive", seg{flags: ack, seq: 117, ack: 101})
			p.andBack("answer to the keepalive", seg{flags: ack, seq: 101, ack: 118})
			p.there("half close", seg{flags: ack | fin, seq: 118, ack: 101})
			p.andBack("data after it", seg{flags: ack, seq: 101, ack: 119, data: 1000})
			p.there("its ACK", seg{flags: ack, seq: 119, ack: 1101})
			p.andBack("FIN", seg{flags: ack | fin, seq: 1101, ack: 119})
			p.there("last ACK", seg{flags: ack, seq: 119, ack: 1102})
			p.andBack("FIN again, the ACK was lost", seg{flags: ack | fin, seq: 1101, ack: 119})
			p.there("ACK from TIME_WAIT", seg{flags: ack, seq: 119, ack: 1102})

			if x := p.client.claimed(t, e, 40000); x != p.x {
				t.Errorf("the port used again got %d, before %d", x, p.x)
			}
			p.there("SYN of the next connection", seg{flags: syn, seq: 9000})
			p.andBack("SYN-ACK", seg{flags: syn | ack, seq: 500, ack: 9001})
			p.there("ACK", seg{flags: ack, seq: 9001, ack: 501})
			p.there("FIN", seg{flags: ack | fin, seq: 9001, ack: 501})
			p.andBack("FIN at the same time", seg{flags: ack | fin, seq: 501, ack: 9001})
			p.there("its ACK", seg{flags: ack, seq: 9002, ack: 502})
			p.andBack("the other ACK", seg{flags: ack, seq: 502, ack: 9002})

			p.there("SYN of a third one", seg{flags: syn, seq: 20000})
			p.there("reset", seg{flags: rst, seq: 20001})
			p.there("SYN of a fourth one", seg{flags: syn, seq: 30000})
			p.andBack("refused", seg{flags: rst | ack, ack: 30001})
			p.live("in the end", 1, 0)
		})
	}
}

// TestInlineSimultaneousOpen: the backend connects to the client's port while the
// client connects to it.
func TestInlineSimultaneousOpen(t *testing.T) {
	const syn, ack = wire.SYN, wire.ACK
	p := newInlinePair(t, families["IPv4"])
	p.there("SYN", seg{flags: syn, seq: 77})
	p.andBack("SYN", seg{flags: syn, seq: 100})
	p.there("SYN-ACK", seg{flags: syn | ack, seq: 77, ack: 101})
	p.live("acknowledged", 1, 0)
	p.andBack("SYN-ACK", seg{flags: syn | ack, seq: 100, ack: 78})
	p.there("data", seg{flags: ack, seq: 78, ack: 101, data: 9})
}

// TestInlineFloodOfTheBackend: SYNs from everywhere take no place from flows that
// live, nor do segments in the middle of connections that are answered by resets.
func TestInlineFloodOfTheBackend(t *testing.T) {
	const live = 50
	b := mustLoad(t, unfunnelInline, "", ethernet)
	e := families["IPv4"]
	in := func(sport uint16, flags byte) []byte {
		return e.out(seg{sport: sport, dport: 179, urgent: 4739, flags: flags, seq: 7, ack: 101})
	}
	for i := range uint16(live) {
		runOn(t, b.Ingress, in(2000+i, wire.SYN))
		runOn(t, b.Egress, e.back(seg{sport: 4739, dport: 2000 + i, flags: wire.SYN | wire.ACK, seq: 100}))
		runOn(t, b.Ingress, in(2000+i, wire.ACK))
	}
	most, err := replacing(halfOpenFlows)
	if err != nil {
		t.Fatal(err)
	}
	for i := range halfOpenFlows + int(most) + 500 { // so that some replace others
		from := ends{netip.AddrFrom4([4]byte{10, 9 + byte(i>>16), byte(i >> 8), byte(i)}), e.server}
		flood := seg{sport: 2000, dport: 179, urgent: 4739, flags: wire.SYN}
		answer := seg{sport: 4739, dport: 2000, flags: wire.SYN | wire.ACK}
		if i%2 == 1 {
			flood.flags, answer.flags = wire.ACK, wire.RST
		}
		runOn(t, b.Ingress, from.out(flood))
		runOn(t, b.Egress, from.back(answer))
	}
	if kept, early, halfOpen := b.unfunneled(t); kept != live || early != halfOpenFlows || halfOpen == 0 {
		t.Errorf("%d live flows, %d half-open among them, %d others", kept, early, halfOpen)
	}
	for i := range uint16(live) {
		b.mustStep(t, step{"answer of a live flow", b.Egress, e.back(seg{sport: 4739, dport: 2000 + i, flags: wire.ACK}),
			e.back(seg{sport: 179, dport: 2000 + i, urgent: 4739, flags: wire.ACK}), Funneled})
	}
}

// backendOf loads a backend with few flows.
func backendOf(t *testing.T, flows int) *Programs {
	t.Helper()
	testnet.RequireRoot(t)
	b, err := Load(Config{Ingress: mustCompile(t, unfunnelInline), Interface: ethernet, Flows: flows})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// toBackend is a segment of a client that travels.
func toBackend(sport uint16, flags byte) []byte {
	return families["IPv4"].out(seg{sport: sport, dport: 179, urgent: 4739, flags: flags, seq: 7, ack: 101})
}

// open opens a flow and returns what its last segment was counted as.
func (p *Programs) open(t *testing.T, sport uint16) Reason {
	t.Helper()
	runOn(t, p.Ingress, toBackend(sport, wire.SYN))
	runOn(t, p.Egress, families["IPv4"].back(seg{sport: 4739, dport: sport, flags: wire.SYN | wire.ACK, seq: 100}))
	reason, _, _ := reasonOf(t, p, p.Ingress, toBackend(sport, wire.ACK))
	return reason
}

// TestInlineBackendFull: a flow that finds no place goes on half open, is counted,
// and moves in when there is one.
func TestInlineBackendFull(t *testing.T) {
	const flows = 4
	const places = 1 + 2*flows // as many half-open ones may be there besides
	b := backendOf(t, flows)
	e := families["IPv4"]
	for i := range uint16(places) {
		if got := b.open(t, 2000+i); got != Unfunneled {
			t.Errorf("flow %d: counted %v", i, got)
		}
	}
	if got := b.open(t, 3000); got != NotKept {
		t.Errorf("one more: counted %v", got)
	}
	answer := step{"its answer", b.Egress, e.back(seg{sport: 4739, dport: 3000, flags: wire.ACK, seq: 101, data: 9}),
		e.back(seg{sport: 179, dport: 3000, urgent: 4739, flags: wire.ACK, seq: 101, data: 9}), Funneled}
	b.mustStep(t, answer)
	further := e.out(seg{sport: 3000, dport: 179, urgent: 4739, flags: wire.ACK, seq: 7, ack: 110}) // no more that of the SYN-ACK
	if got, _, _ := reasonOf(t, b, b.Ingress, further); got != Unfunneled || b.entries(t, bpf.EgressMapHalfOpen) != 1 {
		t.Errorf("the answer acknowledged: counted %v", got)
	}
	runOn(t, b.Ingress, toBackend(2001, wire.RST))
	if !b.within(t, func() bool {
		b.mustStep(t, answer)
		reason, _, _ := reasonOf(t, b, b.Ingress, further)
		return reason == Unfunneled && b.entries(t, bpf.EgressMapHalfOpen) == 0
	}) {
		t.Error("a flow was reset, and its place is not taken")
	}
}

// TestInlineBackendFullToTheEnd: a flow that ends before there is a place for it takes none for
// longer than any that is over.
func TestInlineBackendFullToTheEnd(t *testing.T) {
	const flows = 4
	b := backendOf(t, flows)
	e := families["IPv4"]
	for i := range uint16(1 + 2*flows) {
		b.open(t, 2000+i)
	}
	if got := b.open(t, 3000); got != NotKept {
		t.Errorf("one more: counted %v", got)
	}
	runOn(t, b.Egress, e.back(seg{sport: 4739, dport: 3000, flags: wire.ACK | wire.FIN, seq: 101}))
	runOn(t, b.Ingress, e.out(seg{sport: 3000, dport: 179, urgent: 4739, flags: wire.ACK | wire.FIN, seq: 7, ack: 102}))
	runOn(t, b.Ingress, toBackend(2001, wire.RST))
	last := e.back(seg{sport: 4739, dport: 3000, flags: wire.ACK, seq: 102, ack: 8})
	if !b.within(t, func() bool {
		runOn(t, b.Egress, last)
		return b.entries(t, bpf.EgressMapHalfOpen) == 0
	}) {
		t.Fatal("a flow was reset, and its place is not taken")
	}
	over := 0
	for _, f := range b.flows(t, bpf.EgressMapFlows) {
		if f.State&flowFins == flowFins {
			over++
		}
	}
	if over != 1 {
		t.Errorf("%d flows are over, want the last one", over)
	}
}

// TestInlineBackendMakesRoom: a table full of flows that are over has a place for the next
// one by the end of its handshake.
func TestInlineBackendMakesRoom(t *testing.T) {
	const flows = 4
	const places = 1 + 2*flows
	b := backendOf(t, flows)
	for i := range uint16(places) {
		b.open(t, 2000+i)
		runOn(t, b.Ingress, toBackend(2000+i, wire.RST))
	}
	time.Sleep(time.Second) // a flow that was reset is over after some tenths
	if got := b.open(t, 3000); got != Unfunneled {
		t.Errorf("one more: counted %v", got)
	}
	if live, early, halfOpen := b.unfunneled(t); live != 1 || early != 0 || halfOpen != 0 {
		t.Errorf("%d live flows, %d half-open among them, %d others", live, early, halfOpen)
	}
}

// TestInlineRefusedIsOver: an application that got a reset in place of an answer without
// marker sends nothing more, and its flow takes no place for longer than any that was reset.
func TestInlineRefusedIsOver(t *testing.T) {
	const flows = 4
	for name, answer := range map[string]seg{
		"first answer": {flags: wire.SYN | wire.ACK, seq: 100, ack: 78},
		"later one":    {flags: wire.ACK, seq: 101, ack: 78, data: 9},
	} {
		t.Run(name, func(t *testing.T) {
			p := limited(t, flows, rules.PortRange{First: 32768, Last: 60999})
			e := families["IPv4"]
			for i := range uint16(flows) {
				x := p.claimed(t, e, 50000+i)
				in := seg{sport: 179, dport: x, urgent: 4739, flags: wire.SYN | wire.ACK, seq: 100, ack: 78}
				out := in
				out.sport, out.dport, out.urgent = 4739, 50000+i, 0
				if i > 0 || answer.flags&wire.SYN == 0 {
					p.mustStep(t, step{"answer", p.Ingress, e.back(in), e.back(out), Unfunneled})
				}
				if i == 0 {
					answer.sport, answer.dport = 179, x
					if got, _, _ := reasonOf(t, p, p.Ingress, e.back(answer)); got != MarkerMissing {
						t.Errorf("without marker: counted %v", got)
					}
				}
			}
			p.untilFree(t, e, 41000)
			if got := p.syn(t, e, 42000); got != FlowsFull {
				t.Errorf("and another: counted %v", got)
			}
			p.sourcesAreCounted(t)
		})
	}
}

// TestInlineHalfOpenPlacesComeBack: half-open flows that nobody goes on with give up their
// places among the live ones, without a full table.
func TestInlineHalfOpenPlacesComeBack(t *testing.T) {
	const flows = 4
	b := backendOf(t, flows)
	for i := range uint16(flows) {
		runOn(t, b.Ingress, toBackend(2000+i, wire.SYN))
	}
	if got := b.open(t, 3000); got != Unfunneled {
		t.Errorf("one more: counted %v", got)
	}
	if live, early, halfOpen := b.unfunneled(t); live != 1 || early != flows || halfOpen != 0 {
		t.Errorf("%d live flows, %d half-open among them, %d others", live, early, halfOpen)
	}
	next := uint16(4000)
	if !b.within(t, func() bool {
		runOn(t, b.Ingress, toBackend(next, wire.SYN))
		next++
		_, early, _ := b.unfunneled(t)
		return early <= 1
	}) {
		t.Error("half-open flows keep their places")
	}
}

// TestInlineFloodOfTheClient: flows that nobody answers fill the table. Flows that
// live stay, and new ones get the places of those that had no answer for 3 s.
func TestInlineFloodOfTheClient(t *testing.T) {
	const flows = 8
	p := limited(t, flows, rules.PortRange{First: 32768, Last: 60999})
	e := families["IPv4"]
	x := p.claimed(t, e, 40000)
	answer := step{"answer of a live flow", p.Ingress, e.back(seg{sport: 179, dport: x, urgent: 4739, flags: wire.ACK}),
		e.back(seg{sport: 4739, dport: 40000, flags: wire.ACK}), Unfunneled}
	p.mustStep(t, answer)
	for i := range uint16(flows - 1) {
		p.claimed(t, e, 50000+i)
	}
	if got := p.syn(t, e, 41000); got != FlowsFull {
		t.Errorf("one more: counted %v", got)
	}
	p.untilFree(t, e, 41000)
	p.mustStep(t, answer)
	p.sourcesAreCounted(t)
}
