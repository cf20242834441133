// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// dialog is a flow from the client's to the server's address, seen by either.
type dialog struct {
	six    bool
	inner  byte
	client uint16 // port
}

func (k dialog) addresses() (from, to netip.Addr) {
	if k.six {
		return client6, server6
	}
	return client, server
}

func (k dialog) frame(protocol byte, from, to netip.Addr, segment []byte) []byte {
	if k.six {
		return frame(wire.IPv6{NextHdr: protocol, Source: from, Dest: to}, segment)
	}
	return frame(wire.IPv4{Protocol: protocol, Source: from, Dest: to, Fragment: wire.DF}, segment)
}

// ask is what the client sends, plain; answer what the server does.
func (k dialog) ask() []byte {
	from, to := k.addresses()
	return k.frame(k.inner, from, to, k.segment(k.client, 4739).Bytes(from, to))
}

func (k dialog) answer() []byte {
	to, from := k.addresses()
	return k.frame(k.inner, from, to, k.segment(4739, k.client).Bytes(from, to))
}

// pushedAsk and pushedAnswer are the same with a header in front.
func (k dialog) pushedAsk(outer byte, sport, dport uint16) []byte {
	from, to := k.addresses()
	return k.frame(outer, from, to, wire.Pushed(outer, sport, dport, k.segment(k.client, 4739), from, to))
}

func (k dialog) pushedAnswer(outer byte, sport, dport uint16) []byte {
	to, from := k.addresses()
	return k.frame(outer, from, to, wire.Pushed(outer, sport, dport, k.segment(4739, k.client), from, to))
}

func (k dialog) segment(source, dest uint16) wire.Segment {
	return wire.Segment{Protocol: k.inner, Source: source, Dest: dest, Payload: payload(33), Flags: wire.ACK, Window: 501}
}

// turn is one run of a program and what must come of it.
type turn struct {
	what    string
	program program
	in      []byte
	verdict verdictOf
	out     []byte // nil: not looked at
}

func (p *Programs) follow(t *testing.T, turns ...turn) {
	t.Helper()
	for _, s := range turns {
		reason, verdict, out := reasonOf(t, p, s.program, s.in)
		if got := (verdictOf{reason, verdict}); got != s.verdict {
			t.Errorf("%s: got %v, want %v", s.what, got, s.verdict)
		}
		if s.out != nil {
			sameFrame(t, out, s.out)
		}
	}
}

// pushes is the verdict of the program that pushes what leaves.
func pushes() verdictOf {
	if pushesDirectly() {
		return passes(Funneled)
	}
	return divert(Funneled)
}

var dialogs = []struct {
	dialog
	outer byte
}{
	{dialog{false, wire.UDP, 40000}, wire.TCP},
	{dialog{false, wire.UDP, 40000}, wire.UDP},
	{dialog{false, wire.TCP, 40000}, wire.TCP},
	{dialog{true, wire.UDP, 40000}, wire.TCP},
	{dialog{true, wire.TCP, 40000}, wire.UDP},
}

// TestBackendAnswersInKind: what came in funneled is answered funneled, to the
// port it was seen from last; what came as it is, is answered as it is.
func TestBackendAnswersInKind(t *testing.T) {
	for _, c := range dialogs {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			rule := fmt.Sprintf("%s dport 1179 unfunnel %s dport 4739 reply", protocolName[c.outer], protocolName[c.inner])
			programs := mustLoad(t, rule, "", ethernet)
			out := pusher(programs)
			direct := dialog{c.six, c.inner, 40001}
			plain := passes(NoMatch)
			if !pushesDirectly() {
				plain = divert(PassedSegment)
			}
			programs.follow(t,
				turn{"answer before any packet", out, c.answer(), plain, c.answer()},
				turn{"funneled", programs.Ingress, c.pushedAsk(c.outer, 540, 1179), passes(Unfunneled), c.ask()},
				turn{"answer", out, c.answer(), pushes(), c.pushedAnswer(c.outer, 1179, 540)},
				turn{"by the segmenting device", segmenting{programs.Segment}, c.answer(), divert(Funneled), c.pushedAnswer(c.outer, 1179, 540)},
				turn{"direct", programs.Ingress, direct.ask(), passes(NoMatch), direct.ask()},
				turn{"its answer", out, direct.answer(), plain, direct.answer()},
				turn{"another port", programs.Ingress, c.pushedAsk(c.outer, 618, 1179), passes(Unfunneled), c.ask()},
				turn{"answer to that", out, c.answer(), pushes(), c.pushedAnswer(c.outer, 1179, 618)},
			)
			reason, verdict, _ := reasonOf(t, programs, programs.Egress, c.answer(), gso(1000))
			if reason != ToSegment || verdict != redirect {
				t.Errorf("a large answer: counted %v, verdict %d", reason, verdict)
			}
		})
	}
}

// TestClientTakesAnswersInKind: only what answers a flow that was funneled here,
// under the header that it has to have.
func TestClientTakesAnswersInKind(t *testing.T) {
	for _, c := range dialogs {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			rule := fmt.Sprintf("%s dport 4739 funnel %s dport 179 sport 540-547 reply", protocolName[c.inner], protocolName[c.outer])
			programs := mustLoad(t, "", rule, ethernet)
			other := dialog{c.six, c.inner, 40001}
			untouched := func(what string, f []byte) turn {
				return turn{what, programs.Ingress, f, passes(NoMatch), f}
			}
			programs.follow(t,
				untouched("answer to nothing", c.pushedAnswer(c.outer, 179, 540)),
				turn{"funnel", pusher(programs), c.ask(), pushes(), nil},
				turn{"answer", programs.Ingress, c.pushedAnswer(c.outer, 179, 540), passes(Unfunneled), c.answer()},
				turn{"to a port of before", programs.Ingress, c.pushedAnswer(c.outer, 179, 547), passes(Unfunneled), c.answer()},
				untouched("to another port", c.pushedAnswer(c.outer, 179, 548)),
				untouched("from another port", c.pushedAnswer(c.outer, 180, 540)),
				untouched("another flow", other.pushedAnswer(c.outer, 179, 540)),
				untouched("through the other protocol", c.pushedAnswer(wire.TCP+wire.UDP-c.outer, 179, 540)),
				untouched("as it is", c.answer()),
			)
		})
	}
}

// TestFlowsThatLookTheSame: the first of two holds the place.
func TestFlowsThatLookTheSame(t *testing.T) {
	const rule = "tcp dport 1179 unfunnel udp reply; tcp dport 1180 unfunnel udp reply; udp dport 1179 unfunnel udp reply"
	c := dialog{false, wire.UDP, 40000}
	clash := drops(TupleClash)
	programs := mustLoad(t, rule, "", ethernet)
	in := programs.Ingress
	programs.follow(t,
		turn{"first", in, c.pushedAsk(wire.TCP, 540, 1179), passes(Unfunneled), c.ask()},
		turn{"another through port", in, c.pushedAsk(wire.TCP, 540, 1180), clash, nil},
		turn{"another outer protocol", in, c.pushedAsk(wire.UDP, 540, 1179), clash, nil},
		turn{"not funneled", in, c.ask(), clash, nil},
		turn{"the first again", in, c.pushedAsk(wire.TCP, 541, 1179), passes(Unfunneled), c.ask()},
	)
	programs.silence(t)
	programs.follow(t,
		turn{"another port, the first being silent", in, c.pushedAsk(wire.TCP, 540, 1180), passes(Unfunneled), c.ask()},
		turn{"its answer", pusher(programs), c.answer(), pushes(), c.pushedAnswer(wire.TCP, 1180, 540)},
	)
	programs.silence(t)
	plain := passes(NoMatch)
	if !pushesDirectly() {
		plain = divert(PassedSegment)
	}
	programs.follow(t,
		turn{"not funneled, the other being silent", in, c.ask(), passes(NoMatch), c.ask()},
		turn{"its answer", pusher(programs), c.answer(), plain, c.answer()},
	)
}

// TestInlineAndPushedFlowsThatLookTheSame holds for both orders.
func TestInlineAndPushedFlowsThatLookTheSame(t *testing.T) {
	const rule = "tcp dport 1179 pushed unfunnel tcp dport 4739 reply; tcp dport 1179 unfunnel tcp inline dport 4739"
	c := dialog{false, wire.TCP, 40000}
	syn := wire.Segment{Protocol: wire.TCP, Source: 40000, Dest: 4739, Flags: wire.SYN, Window: 501}
	pushed := frame(header(wire.TCP), wire.Pushed(wire.TCP, 540, 1179, syn, client, server))
	syn.Dest, syn.Urgent = 1179, 4739
	inline := frame(header(wire.TCP), syn.Bytes(client, server))

	programs := mustLoad(t, rule, "", ethernet)
	programs.follow(t,
		turn{"pushed", programs.Ingress, c.pushedAsk(wire.TCP, 540, 1179), passes(Unfunneled), c.ask()},
		turn{"inline", programs.Ingress, inline, drops(TupleClash), nil},
	)
	programs = mustLoad(t, rule, "", ethernet)
	programs.follow(t,
		turn{"inline", programs.Ingress, inline, passes(Unfunneled), nil},
		turn{"pushed", programs.Ingress, pushed, drops(TupleClash), nil},
	)
}

// silence makes all flows that were noted look as if they had paused for 5 s.
func (p *Programs) silence(t *testing.T) {
	t.Helper()
	table := p.egress.maps["pushed_flows"]
	var key flowKey
	var entry pushedEntry
	found := map[flowKey]pushedEntry{}
	for all := table.Iterate(); all.Next(&key, &entry); {
		found[key] = entry
	}
	for key, entry := range found {
		entry.Tick -= 38 // of 2^27 ns
		if err := table.Put(key, entry); err != nil {
			t.Fatal(err)
		}
	}
}

// TestManyFlowsReplaceEachOther: more flows than there is room for cost those that were
// silent for longest their places, and nothing else. One that goes on keeps its own.
func TestManyFlowsReplaceEachOther(t *testing.T) {
	testnet.RequireRoot(t)
	const room = 256
	programs, err := Load(Config{
		Ingress: mustCompile(t, "tcp dport 1179 unfunnel udp reply"), Interface: ethernet, Flows: room,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer programs.Close()
	places, err := replacing(room)
	if err != nil {
		t.Fatal(err)
	}
	flow := func(i int) dialog { return dialog{i%2 == 1, wire.UDP, 5000 + uint16(i/2)} }
	answered := func(what string, c dialog) {
		t.Helper()
		programs.follow(t, turn{what, pusher(programs), c.answer(), pushes(), c.pushedAnswer(wire.TCP, 1179, 540)})
	}
	all := int(places) + 1000
	for i := range all {
		c := flow(i)
		programs.follow(t, turn{"funneled", programs.Ingress, c.pushedAsk(wire.TCP, 540, 1179), passes(Unfunneled), c.ask()})
		answered("answer", c)
		if i%32 == 0 {
			answered("answer to the first, which goes on", flow(0))
		}
	}
	for i := all - room; i < all; i++ {
		answered("answer to one of the last", flow(i))
	}
	plain := 0
	for i := 1; i < all-room; i++ {
		c := flow(i)
		reason, verdict, out := reasonOf(t, programs, pusher(programs), c.answer())
		if (verdictOf{reason, verdict}) != pushes() {
			plain++
			sameFrame(t, out, c.answer())
		}
	}
	if plain < all-int(places) {
		t.Errorf("%d of %d earlier flows gave up their places", plain, all-room-1)
	}
}
