// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// One rule a side, for both families. The router translates 179 to 1179.
const (
	tcpInKind   = "tcp dport 8080 funnel tcp dport 179 sport 540-547 reply"
	tcpBackend  = "tcp dport 1179 pushed unfunnel tcp dport 8080 reply"
	udpInKind   = "udp dport 4739 funnel tcp dport 179 sport 540 reply"
	udpBackend  = "tcp dport 1179 pushed unfunnel udp dport 4739 reply"
	udp2InKind  = "udp dport 4739 funnel udp dport 179 sport 540 reply"
	udp2Backend = "udp dport 1179 sport 540 unfunnel udp dport 4739 reply"
)

// TestBulkBothWaysInKind moves data both ways at once, with an MTU of 1500
// everywhere. No segment is too large, because both sides hear what fits.
func TestBulkBothWaysInKind(t *testing.T) {
	for _, c := range []struct {
		name    string
		to      netip.Addr
		prepare func(*site)
	}{
		{"IPv4", serviceAddr, func(*site) {}},
		{"IPv6", service6, func(*site) {}},
		{"whole checksums", serviceAddr, wholeChecksums},
		{"router completes checksums", serviceAddr, routerTxOff},
		{"masqueraded", serviceAddr, (*site).masquerade},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			c.prepare(s)
			client := s.funnel(s.client, "eth0", "", tcpInKind)
			server := s.funnel(s.server, "eth0", tcpBackend, "")
			go echo(s.listenTCP(s.server, 8080))
			conn := s.dialTCP(s.client, netip.AddrPortFrom(c.to, 8080))
			sent, received := s.mustExchange(conn, int64(scaled(4<<20)))
			if !slices.Equal(sent, received) {
				t.Error("what came back differs from what was sent")
			}
			for side, p := range map[string]*Programs{"client": client, "server": server} {
				reasons := mustCount(t, p, p.Egress).Reasons
				if reasons[Funneled] == 0 || reasons[TooBig]+reasons[TooBigAnswered] != 0 {
					t.Errorf("%s: %s", side, printReasons(reasons))
				}
			}
			s.pushedFrames(wire.TCP, wire.TCP)
			if n := s.invalid(); n != 0 {
				t.Errorf("the router dropped %d packets as invalid", n)
			}
		})
	}
}

// TestDatagramsAreAnsweredInKind: also those that a socket sends at once.
func TestDatagramsAreAnsweredInKind(t *testing.T) {
	for _, c := range []struct {
		name, client, server string
		outer                byte
		to                   netip.Addr
		options              []option
		size, copies         int
	}{
		{"through TCP", udpInKind, udpBackend, wire.TCP, serviceAddr, nil, 700, 1},
		{"through UDP", udp2InKind, udp2Backend, wire.UDP, serviceAddr, nil, 700, 1},
		{"through TCP, IPv6", udpInKind, udpBackend, wire.TCP, service6, nil, 700, 1},
		{"through UDP, IPv6", udp2InKind, udp2Backend, wire.UDP, service6, nil, 700, 1},
		{"through TCP, 7 at once", udpInKind, udpBackend, wire.TCP, serviceAddr, []option{sendGSO}, 7000, 7},
		{"through UDP, 7 at once, IPv6", udp2InKind, udp2Backend, wire.UDP, service6, []option{sendGSO}, 7000, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.funnel(s.client, "eth0", "", c.client)
			s.funnel(s.server, "eth0", c.server, "")
			go echoDatagrams(s.listenUDP(s.server, 4739))
			conn := s.dialUDP(s.client, netip.AddrPortFrom(c.to, 4739), append(c.options, largeBuffer)...)
			s.warmUp(conn, conn)
			want := map[string]int{}
			for i := range 50 {
				d := numbered(i, c.size)
				for at := 0; at < len(d); at += c.size / c.copies {
					want[string(d[at:at+c.size/c.copies])]++
				}
				if _, err := conn.Write(d); err != nil {
					t.Fatal(err)
				}
			}
			s.mustReceive(conn, want)
			s.pushedFrames(c.outer, wire.UDP)
			for _, f := range s.arrives.Frames() {
				if p, err := wire.Parse(f.Data[14:]); f.Outgoing && carriesSegment(f.Data) && (p.Protocol != c.outer || p.SourcePort != 1179) {
					t.Fatalf("an answer left as %+v, %v", p, err)
				}
			}
		})
	}
}

// TestDirectClientsAndFunneledOnes use the same port of the same pod at once.
func TestDirectClientsAndFunneledOnes(t *testing.T) {
	s := newSite(t)
	s.funnel(s.client, "eth0", "", "ip daddr 10.96.0.10 "+tcpInKind)
	s.funnel(s.server, "eth0", tcpBackend, "")
	go echo(s.listenTCP(s.server, 8080))
	funneled := s.dialTCP(s.client, netip.AddrPortFrom(serviceAddr, 8080))
	direct := s.dialTCP(s.client, netip.AddrPortFrom(serverAddr, 8080))
	for _, conn := range []*net.TCPConn{funneled, direct, funneled, direct} {
		request, answer := numbered(1, 100), make([]byte, 200)
		conn.Write(request)
		if n, err := conn.Read(answer); err != nil || !slices.Equal(answer[:n], request) {
			t.Fatalf("%d octets came back: %v", n, err)
		}
	}
}

// TestAnswersThatAreTooBigAreRefused: the answering socket hears what fits.
func TestAnswersThatAreTooBigAreRefused(t *testing.T) {
	for _, to := range []netip.Addr{serviceAddr, service6} {
		s := newSite(t)
		s.funnel(s.client, "eth0", "", udpInKind)
		server := s.funnel(s.server, "eth0", udpBackend, "")
		listener := s.listenUDP(s.server, 4739)
		s.setOption(listener, dontFrag)
		s.setOption(listener, dontFrag6)
		conn := s.dialUDP(s.client, netip.AddrPortFrom(to, 4739))
		conn.Write(numbered(1, 10))
		_, from, err := listener.ReadFromUDPAddrPort(make([]byte, 100))
		if err != nil {
			t.Fatal(err)
		}
		listener.WriteToUDPAddrPort(numbered(2, 1472-map[bool]int{true: 20}[to.Is6()]), from) // fills 1500
		reasons := mustCount(t, server, server.Egress).Reasons
		for end := time.Now().Add(5 * time.Second); reasons[TooBigAnswered] == 0 && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
			reasons = mustCount(t, server, server.Egress).Reasons
		}
		if reasons[TooBigAnswered] != 1 {
			t.Errorf("%v: %s", to, printReasons(reasons))
		}
	}
}

func echoDatagrams(listener *net.UDPConn) {
	buffer := make([]byte, 65536)
	for {
		n, from, err := listener.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		listener.WriteToUDPAddrPort(buffer[:n], from)
	}
}
