// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// inKind is a flow of each protocol, pushed through each protocol.
type inKind struct {
	outer, inner byte
	port         uint16 // outer source port
}

var inKinds = []inKind{{wire.TCP, wire.TCP, 540}, {wire.TCP, wire.UDP, 541}, {wire.UDP, wire.TCP, 540}, {wire.UDP, wire.UDP, 541}}

func (k inKind) backendRule() string {
	return fmt.Sprintf("%s dport 1179 sport %d unfunnel %s dport 4739 reply\n", protocolName[k.outer], k.port, protocolName[k.inner])
}

func (k inKind) clientRule() string {
	return fmt.Sprintf("%s dport 4739 sport %d funnel %s dport 179 sport %d reply\n", protocolName[k.inner], k.source(), protocolName[k.outer], k.port)
}

// source is the port inside.
func (k inKind) source() uint16 { return 40000 + uint16(k.outer) }

// packets are the flow's, as the application has them and pushed through a port,
// with that much payload.
func (k inKind) packets(e ends, through uint16, size int) (ask, pushedAsk, answer, pushedAnswer []byte) {
	out := wire.Segment{Protocol: k.inner, Source: k.source(), Dest: 4739, Payload: payload(size), Seq: 77, Flags: wire.ACK, Window: 9}
	back := out
	back.Source, back.Dest = out.Dest, out.Source
	r := ends{e.server, e.client}
	return ipPacket(e, k.inner, out.Bytes(e.client, e.server), 1),
		ipPacket(e, k.outer, wire.Pushed(k.outer, k.port, through, out, e.client, e.server), 1),
		ipPacket(r, k.inner, back.Bytes(r.client, r.server), 2),
		ipPacket(r, k.outer, wire.Pushed(k.outer, through, k.port, back, r.client, r.server), 2)
}

// replySides are a client and a backend that know all flows of inKinds.
func replySides(t *testing.T, e ends) (c, b *Programs) {
	t.Helper()
	clientRules, backendRules := "", ""
	for _, k := range inKinds {
		clientRules += k.clientRule()
		backendRules += k.backendRule()
	}
	c, b = mustLoad(t, "", clientRules, ethernet), mustLoad(t, backendRules, "", ethernet)
	for _, k := range inKinds {
		ask, _, _, _ := k.packets(e, 179, 5)
		_, pushed, _, _ := k.packets(e, 1179, 5)
		c.follow(t, turn{"funnel", pusher(c), ethernetFrame(ask), pushes(), nil})
		b.follow(t, turn{"unfunnel", b.Ingress, ethernetFrame(pushed), passes(Unfunneled), ethernetFrame(ask)})
	}
	return c, b
}

func ethernetFrame(packet []byte) []byte {
	if packet[0]>>4 == 6 {
		return wire.Ethernet(wire.EtherTypeIPv6, packet)
	}
	return wire.Ethernet(wire.EtherTypeIPv4, packet)
}

// replyQuotes are the four ways in which errors meet flows of rules with reply.
func replyQuotes(t *testing.T, e ends, size int) (all []quotedBy) {
	t.Helper()
	c, b := replySides(t, e)
	for _, k := range inKinds {
		ask, clientAsk, answer, clientAnswer := k.packets(e, 179, size)
		_, backendAsk, _, backendAnswer := k.packets(e, 1179, size)
		name := fmt.Sprintf("%d in %d, ", k.inner, k.outer)
		all = append(all,
			quotedBy{name + "what the client funneled", c, c.Ingress, e.client, clientAsk, ask},
			quotedBy{name + "what the client unfunneled", c, c.Egress, e.server, answer, clientAnswer},
			quotedBy{name + "what the backend unfunneled", b, b.Egress, e.client, ask, backendAsk},
			quotedBy{name + "what the backend funneled", b, b.Ingress, e.server, backendAnswer, answer},
		)
	}
	return all
}

func TestErrorsAboutFlowsInKind(t *testing.T) {
	for family, e := range families {
		t.Run(family, func(t *testing.T) {
			for _, q := range replyQuotes(t, e, 37) {
				q.mustTranslateEveryKind(t, family)
			}
		})
	}
}

// TestErrorsThatQuoteLittleOfFlowsInKind: where no port inside is quoted, a rule
// tells that it should have been.
func TestErrorsThatQuoteLittleOfFlowsInKind(t *testing.T) {
	for family, e := range families {
		t.Run(family, func(t *testing.T) {
			for _, q := range replyQuotes(t, e, 37) {
				q.mustTranslateWhateverIsQuoted(t, family)
			}
		})
	}
}

// TestErrorsDontGrowTooLong: with a header put back, the end of the quote goes
// where the error would become longer than errors are, or than the interface
// takes. One that is longer already stays as long as it is.
func TestErrorsDontGrowTooLong(t *testing.T) {
	for _, c := range []struct {
		family       string
		limit, fixed int // octets of an error; of its headers
	}{{"IPv4", 576, 28}, {"IPv6", 1280, 48}} {
		for _, q := range replyQuotes(t, families[c.family], 1300) {
			if q.outerLen() > 0 {
				continue
			}
			for n := c.limit - c.fixed - 30; n < c.limit-c.fixed+30; n++ {
				kind := icmpErrors[c.family][n%5]
				longest := max(n, c.limit-c.fixed)
				q.mustShorten(t, kind.about(q.in[:n], router[c.family], q.to),
					kind.less(q.outerLen()).about(q.want[:min(n-q.outerLen(), longest)], router[c.family], q.to))
			}
		}
	}
}

// mustShorten runs the program without a sum of the card's, which the kernel gives
// up when a packet becomes shorter at its end.
func (q quotedBy) mustShorten(t *testing.T, in, want []byte) {
	t.Helper()
	if verdict, out := runOn(t, q.program, in); verdict != unspec || !bytes.Equal(out, want) {
		t.Errorf("%s, %d octets: verdict %d", q.name, len(in), verdict)
		sameFrame(t, out, want)
	}
}

func TestErrorsThatGrowFitTheInterface(t *testing.T) {
	s := newSite(t)
	s.server.Run("ip", "link", "set", "eth0", "mtu", "300")
	device := ethernet
	device.Index = s.server.Index("eth0")
	k := inKinds[0]
	s.server.Do(func() {
		b := mustLoad(t, k.backendRule(), "", device)
		ask, pushed, _, _ := k.packets(families["IPv4"], 1179, 300)
		b.follow(t, turn{"unfunnel", b.Ingress, ethernetFrame(pushed), passes(Unfunneled), nil})
		kind := icmpErrors["IPv4"][1]
		q := quotedBy{"what the backend unfunneled", b, b.Egress, client, ask, pushed}
		q.mustShorten(t, kind.about(ask[:270], router["IPv4"], client), kind.about(pushed[:272], router["IPv4"], client))
	})
}

// TestErrorsAboutAnswersAreForTheirFlow: other ports, inside or outside, are of
// another flow.
func TestErrorsAboutAnswersAreForTheirFlow(t *testing.T) {
	for family, e := range families {
		for _, q := range replyQuotes(t, e, 37) {
			l4 := l4Offset(q.in)
			for name, at := range map[string]int{
				"source port": l4 + 1, "destination port": l4 + 3,
				"source port inside": l4 + q.outerLen() + 1, "destination port inside": l4 + q.outerLen() + 3,
			} {
				if q.program == q.programs.Ingress && q.to == e.client || at < l4 {
					continue // by rules; nothing inside
				}
				in := bytes.Clone(q.in)
				in[at] ^= 0x40
				frame := icmpErrors[family][1].about(in, router[family], q.to)
				q.mustTranslate(t, "another "+name, OtherProtocol, frame, frame)
			}
		}
	}
}

// TestErrorsAboutWhatWasNotPushedYetStay: so are those that egress sends itself
// when a packet does not fit with a header.
func TestErrorsAboutWhatWasNotPushedYetStay(t *testing.T) {
	for family, e := range families {
		c, b := replySides(t, e)
		for _, k := range inKinds {
			ask, _, answer, _ := k.packets(e, 179, 37)
			for _, q := range []quotedBy{
				{"the client's", c, c.Ingress, e.client, ask, ask},
				{"the backend's", b, b.Ingress, e.server, answer, answer},
			} {
				frame := icmpErrors[family][0].about(q.in, router[family], q.to)
				q.mustTranslate(t, family, OtherProtocol, frame, frame)
			}
		}
	}
}

// TestErrorsAboutAnswersGetThePortOfTheLastPacket: a flow whose outer source port
// moves had that of the time when it was last funneled.
func TestErrorsAboutAnswersGetThePortOfTheLastPacket(t *testing.T) {
	e := families["IPv4"]
	c := mustLoad(t, "", "udp dport 4739 funnel tcp dport 179 sport 540-547 reply", ethernet)
	k := inKind{wire.TCP, wire.UDP, 540}
	ask, _, answer, _ := k.packets(e, 179, 5)
	c.follow(t, turn{"funnel", pusher(c), ethernetFrame(ask), pushes(), nil})
	table := c.egress.maps["pushed_flows"]
	var key flowKey
	var entry pushedEntry
	if all := table.Iterate(); !all.Next(&key, &entry) {
		t.Fatal("no entry")
	}
	for seconds := range uint64(600) {
		entry.Tick = uint32((seconds*1e9 + 5e8) >> 27)
		if err := table.Put(key, entry); err != nil {
			t.Fatal(err)
		}
		k.port = 540 + uint16(seconds/30%8)
		_, _, _, pushed := k.packets(e, 179, 5)
		kind := icmpErrors["IPv4"][1]
		if _, out := runOn(t, c.Egress, kind.about(answer, router["IPv4"], e.server)); !bytes.Equal(out, kind.about(pushed, router["IPv4"], e.server)) {
			t.Fatalf("after %d s: port %d, want %d", seconds, binary.BigEndian.Uint16(out[14+28+20+2:]), k.port)
		}
	}
}

// behindOptions puts an IPv6 packet's segment behind destination options of n
// times 8 octets.
func behindOptions(packet []byte, n int) []byte {
	if n == 0 {
		return packet
	}
	h := wire.IPv6{
		FlowLabel: binary.BigEndian.Uint32(packet) & 0xfffff, HopLimit: packet[7],
		Source: netip.AddrFrom16([16]byte(packet[8:])), Dest: netip.AddrFrom16([16]byte(packet[24:])),
	}
	var segment []byte
	h.NextHdr, segment = behind(packet[6], packet[40:], n)
	return h.Packet(segment)
}

// TestErrorsAboutWhatIsBehindExtensionHeaders: the last of them names the
// protocol.
func TestErrorsAboutWhatIsBehindExtensionHeaders(t *testing.T) {
	for _, q := range append(replyQuotes(t, families["IPv6"], 37), pushQuotes(t, "IPv6")...) {
		for _, n := range []int{1, 2, 8, 9} {
			kind := icmpErrors["IPv6"][n%5]
			reason, in, want, after := ErrorTranslated, behindOptions(q.in, n), behindOptions(q.want, n), kind.less(q.outerLen())
			if n > 8 {
				reason, want, after = Extension, in, kind
			}
			q.mustTranslate(t, fmt.Sprintf("%d octets", 8*n), reason,
				kind.about(in, router["IPv6"], q.to), after.about(want, router["IPv6"], q.to))
		}
	}
}
