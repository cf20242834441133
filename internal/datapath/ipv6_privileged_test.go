// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// Extension headers.
const (
	destOptions = 60
	routing     = 43
)

// behind puts extension headers in front of a segment: destination options
// of the given numbers of 8 octets. It returns the next header of the IP header.
func behind(protocol byte, segment []byte, lengths ...int) (byte, []byte) {
	for _, n := range slices.Backward(lengths) {
		extension := make([]byte, 8*n)
		extension[0], extension[1] = protocol, byte(n-1)
		extension[2], extension[3] = 1, byte(8*n-4) // PadN
		protocol, segment = destOptions, append(extension, segment...)
	}
	return protocol, segment
}

func extended(lengths ...int) []byte {
	protocol, payload := behind(wire.UDP, segment(wire.UDP, 32).Bytes(client6, server6), lengths...)
	return frame(header6(protocol), payload)
}

// routed is a datagram with a routing header that leads over so many more
// addresses.
func routed(left byte) []byte {
	extension := append([]byte{wire.UDP, 4, 4, left}, payload(36)...)
	return frame(header6(routing), append(extension, segment(wire.UDP, 32).Bytes(client6, server6)...))
}

func TestOddIPv6PacketsStayUntouched(t *testing.T) {
	udp := makePair6(wire.UDP, wire.TCP, 32, nil).plain
	fragment := append([]byte{wire.UDP, 0, 0, 1, 0, 0, 0, 1}, segment(wire.UDP, 32).Bytes(client6, server6)...)
	cases := []struct {
		name  string
		frame []byte
		want  Reason
	}{
		{"fragment", frame(header6(44), fragment), Fragment},
		{"ESP", frame(header6(wire.ESP), payload(64)), IPsec},
		{"AH", frame(header6(wire.AH), payload(64)), IPsec},
		{"ICMPv6", frame(header6(wire.ICMPv6), payload(64)), OtherProtocol},
		{"no next header", frame(header6(59), nil), OtherProtocol},
		{"version 4", edit(udp, 0, 0x45), BadVersion},
		{"payload length 0", edit(udp, 4, 0, 0), Short},
		{"payload length one long", edit(udp, 4, 0, 41), BadLength},
		{"payload length 7", edit(udp, 4, 0, 7), Short},
		{"UDP length differs", edit(udp, 44, 0, 39), BadLength},
		{"extension headers of 72 octets", extended(9), Extension},
		{"large extension headers", extended(32, 32), Extension},
		{"six extension headers", extended(1, 1, 1, 1, 1, 1), Extension},
		{"seven extension headers", extended(1, 1, 1, 1, 1, 1, 1), Extension},
		{"routing header that leads on", routed(1), Extension},
		{"extension header beyond the packet", edit(extended(1), 41, 200), BadLength},
		{"packet ends in an extension header", edit(extended(1), 4, 0, 1), BadLength},
	}
	for name, programs := range map[string]*Programs{
		"funnel":   mustLoad(t, funnelEverything, funnelEverything, ethernet),
		"unfunnel": mustLoad(t, unfunnelEverything, unfunnelEverything, ethernet),
	} {
		for _, c := range cases {
			t.Run(name+" "+c.name, func(t *testing.T) {
				for _, program := range []*ebpf.Program{programs.Ingress, programs.Egress} {
					reason, verdict, after := reasonOf(t, programs, program, c.frame)
					if reason != c.want || verdict != unspec {
						t.Errorf("verdict %d, counted %v, want %v", verdict, reason, c.want)
					}
					sameFrame(t, after, c.frame)
				}
			})
		}
	}
}

// TestRulesSeeBehindExtensionHeaders: accept and drop need to rewrite nothing.
func TestRulesSeeBehindExtensionHeaders(t *testing.T) {
	programs := mustLoad(t, "udp dport 4739 drop", "", ethernet)
	for _, f := range [][]byte{extended(), extended(1), extended(32, 1, 4), extended(1, 1, 1, 1, 1)} {
		if reason, verdict, _ := reasonOf(t, programs, programs.Ingress, f); reason != Dropped || verdict != shot {
			t.Errorf("verdict %d, counted %v", verdict, reason)
		}
	}
}

// TestRoutingHeaderThatIsOver leads nowhere any more: the destination is the
// one that the checksum is for.
func TestRoutingHeaderThatIsOver(t *testing.T) {
	programs := mustLoad(t, popRule(wire.UDP), pushRule(wire.TCP), ethernet)
	plain := routed(0)
	extension := plain[14+40:][:40]
	pushed := frame(header6(routing), append(slices.Clone(extension),
		wire.Pushed(wire.TCP, 540, 179, segment(wire.UDP, 32), client6, server6)...))
	pushed[14+40] = wire.TCP
	_, got := runOn(t, pusher(programs), plain)
	sameFrame(t, got, pushed)
	_, got = runOn(t, programs.Ingress, pushed, csumComplete)
	sameFrame(t, got, plain)
}

// TestTruncatedIPv6PacketsStayUntouched cuts packets, and says so in the header
// or not.
func TestTruncatedIPv6PacketsStayUntouched(t *testing.T) {
	programs := mustLoad(t, unfunnelEverything, funnelEverything, ethernet)
	for _, whole := range [][]byte{makePair6(wire.UDP, wire.TCP, 24, nil).plain, makePair6(wire.TCP, wire.TCP, 24, nil).plain, extended(1, 2), routed(0)} {
		for n := 14 + 40; n < len(whole); n++ {
			for _, told := range []bool{false, true} {
				cut := slices.Clone(whole[:n])
				if told {
					cut = edit(cut, 4, 0, byte(n-54))
				}
				for _, program := range []*ebpf.Program{programs.Ingress, programs.Egress} {
					reason, verdict, after := reasonOf(t, programs, program, cut)
					ok := reason == Short || reason == BadLength
					tcp := whole[20] == wire.TCP
					if told && tcp && (reason == Funneled || reason == ToSegment) {
						continue // a shorter segment, with a wrong checksum
					}
					if verdict == shot && program == programs.Ingress && told && tcp {
						continue // taken for pushed, and too short for that
					}
					if verdict != unspec || !ok {
						t.Errorf("%d octets, told %v: verdict %d, counted %v", n, told, verdict, reason)
					}
					sameFrame(t, after, cut)
				}
			}
		}
	}
}

func TestTooBigIPv6IsAnsweredByteExact(t *testing.T) {
	s := newSite(t)
	device := ethernet
	device.Index = s.client.Index("eth0")
	s.client.Do(func() {
		programs := mustLoad(t, "", pushRule(wire.TCP), device)
		for _, lengths := range [][]int{nil, {1}, {3, 5}} {
			protocol, segment := behind(wire.UDP, segment(wire.UDP, 1452).Bytes(client6, server6), lengths...)
			packet := header6(protocol).Packet(segment)
			quoted := len(packet) - 1452
			want := wire.IPv6{NextHdr: wire.ICMPv6, Source: server6, Dest: client6}.Packet(
				wire.PacketTooBig(server6, client6, 1480, packet[:quoted]))
			for _, program := range []program{pusher(programs), segmenting{programs.Segment}} {
				reason, verdict, out := reasonOf(t, programs, program, wire.Ethernet(wire.EtherTypeIPv6, packet))
				if reason != TooBigAnswered || verdict != redirect {
					t.Errorf("counted %v, verdict %d", reason, verdict)
				}
				sameFrame(t, out[14:], want)
			}
		}
	})
}

// IPv6 twins of the rules of the other socket tests.
const (
	udp6ThroughTCP = "ip6 daddr fd96::10 udp dport 4739 funnel tcp dport 179 sport 540"
	udp6ThroughUDP = "ip6 daddr fd96::10 udp dport 4739 funnel udp dport 179 sport 540"
	tcp6ThroughTCP = "ip6 daddr fd96::10 tcp dport 8080 funnel tcp dport 179 sport 540"
)

func TestIPv6DatagramsArrive(t *testing.T) {
	for _, c := range []struct {
		name, egress, ingress string
		outer                 byte
		prepare               func(*site)
		direct                bool
	}{
		{"through TCP", udp6ThroughTCP, udpFromTCP, wire.TCP, func(*site) {}, true},
		{"through UDP", udp6ThroughUDP, udpFromUDP, wire.UDP, func(*site) {}, true},
		{"through TCP, whole checksums", udp6ThroughTCP, udpFromTCP, wire.TCP, wholeChecksums, true},
		{"through UDP, whole checksums", udp6ThroughUDP, udpFromUDP, wire.UDP, wholeChecksums, true},
		{"through TCP, router completes checksums", udp6ThroughTCP, udpFromTCP, wire.TCP, routerTxOff, true},
		{"through UDP, router completes checksums", udp6ThroughUDP, udpFromUDP, wire.UDP, routerTxOff, true},
		{"through TCP, masqueraded", udp6ThroughTCP, udpFromMagic, wire.TCP, (*site).masquerade, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			c.prepare(s)
			sender := s.funnel(s.client, "eth0", "", c.egress)
			s.funnel(s.server, "eth0", c.ingress, "")
			server := s.listenUDP(s.server, 4739)
			client := s.dialUDP(s.client, netip.AddrPortFrom(service6, 4739))
			want := map[string]int{}
			s.warmUp(client, server)
			for i := range 300 {
				d := numbered(i, i*7%1430)
				want[string(d)]++
				if _, err := client.Write(d); err != nil {
					t.Fatal(err)
				}
			}
			s.mustReceive(server, want)
			if got := s.pushedFrames(c.outer, wire.UDP); got != 301 {
				t.Errorf("%d pushed packets arrived, want 301", got)
			}
			s.wentDirectly(sender, c.direct, 301)
			if n := s.invalid(); n != 0 {
				t.Errorf("the router dropped %d packets as invalid", n)
			}
		})
	}
}

// warmUp sends one datagram through: neighbours learn of each other, and keep
// only so many packets waiting meanwhile.
func (s *site) warmUp(client, server *net.UDPConn) {
	s.Helper()
	d := numbered(9999, 9)
	client.Write(d)
	s.mustReceive(server, map[string]int{string(d): 1})
}

func TestBulkOverTCPOverIPv6(t *testing.T) {
	s := newSite(t)
	client := s.funnel(s.client, "eth0", replyFromTCP, tcp6ThroughTCP)
	s.funnel(s.server, "eth0", tcpFromTCP, replyThroughTCP)
	go echo(s.listenTCP(s.server, 8080))
	conn := s.dialTCP(s.client, netip.AddrPortFrom(service6, 8080))
	sent, received := s.mustExchange(conn, int64(scaled(8<<20)))
	if !slices.Equal(sent, received) {
		t.Error("what came back differs from what was sent")
	}
	t.Logf("client: %s", printReasons(mustCount(t, client, client.Egress).Reasons))
	s.pushedFrames(wire.TCP, wire.TCP)
	if n := s.invalid(); n != 0 {
		t.Errorf("the router dropped %d packets as invalid", n)
	}
}

// TestIPv6SocketHearsOfTheMTU: 1500 less IPv6, pushed TCP and UDP header leave
// 1432 octets of payload.
func TestIPv6SocketHearsOfTheMTU(t *testing.T) {
	s := newSite(t)
	s.funnel(s.client, "eth0", "", udp6ThroughTCP)
	s.funnel(s.server, "eth0", udpFromTCP, "")
	server := s.listenUDP(s.server, 4739)
	client := s.dialUDP(s.client, netip.AddrPortFrom(service6, 4739), dontFrag6)
	client.Write(numbered(1, 1433))
	if _, err := client.Write(numbered(2, 1432)); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("after the answer: %v, want the socket's error", err)
	}
	client.Write(numbered(2, 1432))
	s.mustReceive(server, map[string]int{string(numbered(2, 1432)): 1})
}
