// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// TestGatewayFunnelsForOthers: the router funnels what it forwards, on its way
// out or as it arrives; the client knows nothing of it.
func TestGatewayFunnelsForOthers(t *testing.T) {
	const (
		push = "udp dport 4739 funnel tcp dport 1179 sport 540"
		pop  = "tcp dport 1179 sport 540 unfunnel udp"
	)
	cases := []struct {
		name            string
		device          string
		ingress, egress string
		prepare         func(*site)
		options         []option
		size, copies    int // of a datagram, and into how many the kernel cuts it
	}{
		{"on the way out", "s0", "", push, func(*site) {}, nil, 700, 1},
		{"on the way out, whole checksums", "s0", "", push, wholeChecksums, nil, 700, 1},
		{"on the way out, cut by the sender's kernel", "s0", "", push, func(*site) {}, []option{sendGSO}, 8000, 8},
		{"on the way out, merged on the way in", "s0", "", push, clientSegments, []option{sendGSO}, 8000, 8},
		{"as it arrives, whole checksums", "c0", push, "", wholeChecksums, nil, 700, 1},
	}
	if pushesDirectly() {
		cases = append(cases, cases[0])
		last := &cases[len(cases)-1]
		last.name, last.device, last.ingress, last.egress = "as it arrives", "c0", push, ""
		cases = append(cases, *last)
		last = &cases[len(cases)-1]
		last.name, last.size = "as it arrives, small", 9
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			c.prepare(s)
			gateway := s.funnel(s.router, c.device, c.ingress, c.egress)
			s.funnel(s.server, "eth0", pop, "")
			server := s.listenUDP(s.server, 4739)
			client := s.dialUDP(s.client, netip.AddrPortFrom(serverAddr, 4739), c.options...)
			want := map[string]int{}
			for i := range 100 {
				d := numbered(i, c.size)
				step := c.size / c.copies
				for at := 0; at < c.size; at += step {
					want[string(d[at:at+step])]++
				}
				if _, err := client.Write(d); err != nil {
					t.Fatal(err)
				}
			}
			s.mustReceive(server, want)
			if got := s.pushedFrames(wire.TCP, wire.UDP); got != 100*c.copies {
				t.Errorf("%d pushed packets arrived, want %d", got, 100*c.copies)
			}
			program := gateway.Egress
			if c.ingress != "" {
				program = gateway.Ingress
			}
			t.Logf("gateway: %s", printReasons(mustCount(t, gateway, program).Reasons))
			if n := s.invalid(); n != 0 {
				t.Errorf("the router dropped %d packets as invalid", n)
			}
		})
	}
}

// TestTunnelIsFunneled: what a local tunnel sends has a checksum inside that is yet
// to be completed, which is not that of the header that a push is put in front of.
func TestTunnelIsFunneled(t *testing.T) {
	const (
		push = "udp dport 4789 funnel tcp dport 1179 sport 540"
		pop  = "tcp dport 1179 sport 540 unfunnel udp dport 4789"
	)
	s := newSite(t)
	tunnel := func(ns *testnet.Namespace, local, remote, address string) {
		ns.Run("ip", "link", "add", "tunnel", "type", "vxlan", "id", "7", "dstport", "4789", "dev", "eth0", "local", local, "remote", remote)
		ns.Run("ip", "link", "set", "tunnel", "mtu", "1400", "up")
		ns.Run("ip", "addr", "add", address, "dev", "tunnel")
	}
	tunnel(s.client, "10.77.1.2", "10.77.2.2", "10.55.0.1/24")
	tunnel(s.server, "10.77.2.2", "10.77.1.2", "10.55.0.2/24")
	sender := s.funnel(s.client, "eth0", "", push)
	receiver := s.funnel(s.server, "eth0", pop, "")
	server := s.listenUDP(s.server, 4739)
	client := s.dialUDP(s.client, netip.MustParseAddrPort("10.55.0.2:4739"))
	want := map[string]int{}
	for i := range 100 {
		d := numbered(i, 9+i*13)
		want[string(d)]++
		if _, err := client.Write(d); err != nil {
			t.Fatal(err)
		}
	}
	s.mustReceive(server, want)
	if got := mustCount(t, receiver, receiver.Ingress).Reasons[Unfunneled]; got < 100 {
		t.Errorf("%d packets were unfunneled, want at least 100", got)
	}
	if got := mustCount(t, sender, sender.Egress).Reasons; got[ToSegment] < 100 {
		t.Errorf("counted %s, want at least 100 segmented", printReasons(got))
	}
}

// clientSegments makes the client's kernel cut what the socket sends at once, and
// the router merge it again.
func clientSegments(s *site) {
	s.client.Offload("eth0", false, "tx-udp-segmentation", "tx-checksum-ip-generic")
	routerMerges(s)
}

// TestDatagramsOfOneSend: a socket hands the kernel 8 datagrams at once
// (UDP_SEGMENT), as QUIC servers do.
func TestDatagramsOfOneSend(t *testing.T) {
	for _, c := range []struct {
		name, egress, ingress string
		outer                 byte
	}{
		{"through TCP", udpThroughTCP, udpFromTCP, wire.TCP},
		{"through UDP", udpThroughUDP, udpFromUDP, wire.UDP},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			sender := s.funnel(s.client, "eth0", "", c.egress)
			s.funnel(s.server, "eth0", c.ingress, "")
			server := s.listenUDP(s.server, 4739)
			client := s.dialUDP(s.client, netip.AddrPortFrom(serviceAddr, 4739), sendGSO)
			want := map[string]int{}
			for i := range 50 {
				d := numbered(i, 7777)
				for at := 0; at < len(d); at += 1000 {
					want[string(d[at:min(at+1000, len(d))])]++
				}
				if _, err := client.Write(d); err != nil {
					t.Fatal(err)
				}
			}
			s.mustReceive(server, want)
			if got := s.pushedFrames(c.outer, wire.UDP); got != 400 {
				t.Errorf("%d pushed packets arrived, want 400", got)
			}
			reasons := mustCount(t, sender, sender.Egress).Reasons
			if reasons[ToSegment] != 50 || reasons[Funneled] != 400 {
				t.Errorf("counted %s, want 50 sent to be segmented and 400 funneled", printReasons(reasons))
			}
		})
	}
}

// TestRoutersDoNotMergeWhatIsPushed: a router that merges datagrams of one flow
// must find nothing to merge. It does merge the same datagrams unpushed.
func TestRoutersDoNotMergeWhatIsPushed(t *testing.T) {
	for _, c := range []struct {
		name, egress, ingress string
		to                    netip.AddrPort
		merges                bool
	}{
		{"through UDP", udpThroughUDP, udpFromUDP, netip.AddrPortFrom(serviceAddr, 4739), false},
		{"through TCP", udpThroughTCP, udpFromTCP, netip.AddrPortFrom(serviceAddr, 4739), false},
		{"not pushed", "", "", netip.AddrPortFrom(serverAddr, 4739), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			clientSegments(s)
			s.funnel(s.client, "eth0", "", c.egress)
			s.funnel(s.server, "eth0", c.ingress, "")
			server := s.listenUDP(s.server, 4739)
			client := s.dialUDP(s.client, c.to, sendGSO)
			forwarded := s.router.Capture("s0")
			// Connection tracking takes the packets of a new TCP flow one by one:
			// of several in one batch it drops all but the first.
			client.Write(numbered(0, 9))
			s.mustReceive(server, map[string]int{string(numbered(0, 9)): 1})
			want := map[string]int{}
			for i := range 50 {
				d := numbered(i, 8000)
				for at := 0; at < len(d); at += 1000 {
					want[string(d[at:at+1000])]++
				}
				client.Write(d)
			}
			s.mustReceive(server, want)
			merged := false
			for _, f := range forwarded.Frames() {
				merged = merged || f.Outgoing && len(f.Data) > 1500
			}
			if merged != c.merges {
				t.Errorf("merged: %v, want %v", merged, c.merges)
			}
		})
	}
}

// TestRuleThatMatchesItsOwnHeader must not push twice.
func TestRuleThatMatchesItsOwnHeader(t *testing.T) {
	s := newSite(t)
	s.funnel(s.client, "eth0", "", "udp dport 4739 funnel udp dport 179 sport 540; udp funnel udp dport 179 sport 540")
	s.funnel(s.server, "eth0", udpFromUDP, "")
	server := s.listenUDP(s.server, 4739)
	client := s.dialUDP(s.client, netip.AddrPortFrom(serviceAddr, 4739))
	d := numbered(1, 100)
	client.Write(d)
	s.mustReceive(server, map[string]int{string(d): 1})
	if got := s.pushedFrames(wire.UDP, wire.UDP); got != 1 {
		t.Errorf("%d pushed packets arrived", got)
	}
}
