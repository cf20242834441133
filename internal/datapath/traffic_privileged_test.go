// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

const (
	udpThroughTCP = "ip daddr 10.96.0.10 udp dport 4739 funnel tcp dport 179 sport 540"
	udpThroughUDP = "ip daddr 10.96.0.10 udp dport 4739 funnel udp dport 179 sport 540"
	udpFromTCP    = "tcp dport 1179 sport 540 unfunnel udp dport 4739"
	udpFromUDP    = "udp dport 1179 sport 540 unfunnel udp dport 4739"
	udpFromMagic  = "tcp dport 1179 pushed unfunnel udp dport 4739"
)

// TestDatagramsArrive sends datagrams from a socket through the router to a
// socket, with offloads in different places.
func TestDatagramsArrive(t *testing.T) {
	cases := []struct {
		name, egress, ingress string
		outer                 byte
		prepare               func(*site)
		options               []option
		direct                bool
	}{
		{"through TCP", udpThroughTCP, udpFromTCP, wire.TCP, nil, nil, true},
		{"through UDP", udpThroughUDP, udpFromUDP, wire.UDP, nil, nil, true},
		{"through TCP, whole checksums", udpThroughTCP, udpFromTCP, wire.TCP, wholeChecksums, nil, true},
		{"through UDP, whole checksums", udpThroughUDP, udpFromUDP, wire.UDP, wholeChecksums, nil, true},
		{"through TCP, router completes checksums", udpThroughTCP, udpFromTCP, wire.TCP, routerTxOff, nil, true},
		{"through UDP, router completes checksums", udpThroughUDP, udpFromUDP, wire.UDP, routerTxOff, nil, true},
		{"through TCP, masqueraded", udpThroughTCP, udpFromMagic, wire.TCP, (*site).masquerade, nil, true},
		{"through TCP, router merges", udpThroughTCP, udpFromTCP, wire.TCP, routerMerges, nil, true},
		{"through UDP, router merges", udpThroughUDP, udpFromUDP, wire.UDP, routerMerges, nil, true},
		{"through TCP, no checksum", udpThroughTCP, udpFromTCP, wire.TCP, nil, []option{noChecksum}, true},
		{"through UDP, no checksum", udpThroughUDP, udpFromUDP, wire.UDP, nil, []option{noChecksum}, true},
		{"through TCP, IP options", udpThroughTCP, udpFromTCP, wire.TCP, nil, []option{ipOptions}, false},
		{"through UDP, IP options", udpThroughUDP, udpFromUDP, wire.UDP, nil, []option{ipOptions}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			if c.prepare != nil {
				c.prepare(s)
			}
			sender := s.funnel(s.client, "eth0", "", c.egress)
			s.funnel(s.server, "eth0", c.ingress, "")
			server := s.listenUDP(s.server, 4739)
			client := s.dialUDP(s.client, netip.AddrPortFrom(serviceAddr, 4739), c.options...)
			want := map[string]int{}
			for i := range 400 {
				d := numbered(i, i*7%1440)
				want[string(d)]++
				if _, err := client.Write(d); err != nil {
					t.Fatal(err)
				}
			}
			s.mustReceive(server, want)
			if got := s.pushedFrames(c.outer, wire.UDP); got != 400 {
				t.Errorf("%d pushed packets arrived, want 400", got)
			}
			if masqueraded := c.ingress == udpFromMagic; masqueraded != (s.sourcePort != 540) {
				t.Errorf("arrived from port %d", s.sourcePort)
			}
			s.wentDirectly(sender, c.direct, 400)
			if n := s.invalid(); n != 0 {
				t.Errorf("the router dropped %d packets as invalid", n)
			}
		})
	}
}

// wentDirectly checks which way packets took to their pushed header.
func (s *site) wentDirectly(p *Programs, direct bool, packets uint64) {
	s.Helper()
	reasons := mustCount(s, p, p.Egress).Reasons
	diverted := packets
	if direct && pushesDirectly() {
		diverted = 0
	}
	if reasons[Funneled] != packets || reasons[ToSegment] != diverted || reasons[FromSegment] != diverted {
		s.Errorf("counted %s, want %d funneled, %d through the segmenting device", printReasons(reasons), packets, diverted)
	}
}

func printReasons(reasons map[Reason]uint64) string {
	out := ""
	for _, r := range Reasons() {
		if n := reasons[r]; n > 0 {
			out += fmt.Sprintf("%v %d, ", r, n)
		}
	}
	return out
}

// wholeChecksums makes the client's stack compute checksums itself.
func wholeChecksums(s *site) {
	s.client.Offload("eth0", false, "tx-checksum-ip-generic")
}

// routerTxOff makes the router complete the checksums that were left to do.
func routerTxOff(s *site) {
	s.router.Offload("s0", false, "tx-checksum-ip-generic")
}

// routerMerges lets the router merge the datagrams that it forwards.
func routerMerges(s *site) {
	s.router.Offload("c0", true, "rx-gro", "rx-udp-gro-forwarding")
	s.server.Offload("eth0", true, "rx-gro", "rx-udp-gro-forwarding")
}
