// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// TestDatagramsUpToTheMTU: 1500 less IP, pushed TCP and UDP header leave 1452
// octets of payload. One more, and the sender hears of it: the socket that
// wants to know by an error, the other's datagram is dropped and counted.
func TestDatagramsUpToTheMTU(t *testing.T) {
	cases := []struct {
		name, egress, ingress string
		fits                  int
		prepare               func(*site)
	}{
		{"through TCP, directly", udpThroughTCP, udpFromTCP, 1452, wholeChecksums},
		{"through TCP, segmenting device", udpThroughTCP, udpFromTCP, 1452, func(*site) {}},
		{"through UDP, directly", udpThroughUDP, udpFromUDP, 1464, wholeChecksums},
		{"through UDP, segmenting device", udpThroughUDP, udpFromUDP, 1464, func(*site) {}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			c.prepare(s)
			sender := s.funnel(s.client, "eth0", "", c.egress)
			s.funnel(s.server, "eth0", c.ingress, "")
			server := s.listenUDP(s.server, 4739)
			silent := s.dialUDP(s.client, netip.AddrPortFrom(serviceAddr, 4739), mayFrag)
			largest, over := numbered(1, c.fits), numbered(2, c.fits+1)
			silent.Write(over)
			silent.Write(largest)
			s.mustReceive(server, map[string]int{string(largest): 1})
			strict := s.dialUDP(s.client, netip.AddrPortFrom(serviceAddr, 4739), dontFrag)
			strict.Write(over)
			if _, err := strict.Write(largest); !errors.Is(err, unix.EMSGSIZE) {
				t.Errorf("after the answer: %v, want the socket's error", err)
			}
			strict.Write(largest)
			s.mustReceive(server, map[string]int{string(largest): 1})
			if _, err := strict.Write(over); !errors.Is(err, unix.EMSGSIZE) {
				t.Errorf("sending too much again: %v, want message too long", err)
			}
			reasons := mustCount(t, sender, sender.Egress).Reasons
			if reasons[TooBig] != 1 || reasons[TooBigAnswered] != 1 {
				t.Errorf("counted %s, want one too big and one answered", printReasons(reasons))
			}
		})
	}
}

// TestTooBigOnAGateway: what a local sender left its checksum open in does not fit on the
// router. The answer leaves by an interface that completes such checksums itself.
func TestTooBigOnAGateway(t *testing.T) {
	for family, c := range map[string]struct {
		server netip.Addr
		fits   int
	}{
		"IPv4": {serverAddr, 1500 - 20 - 8 - 20},
		"IPv6": {netip.MustParseAddr("fd77:2::2"), 1500 - 40 - 8 - 20},
	} {
		t.Run(family, func(t *testing.T) {
			s := newSite(t)
			s.router.Offload("c0", false, "tx-checksum-ip-generic")
			gateway := s.funnel(s.router, "s0", "", "udp dport 4739 funnel tcp dport 1179 sport 540")
			client := s.dialUDP(s.client, netip.AddrPortFrom(c.server, 4739), dontFrag)
			var err error
			for deadline := time.Now().Add(5 * time.Second); err == nil && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
				_, err = client.Write(numbered(1, c.fits+1))
			}
			if !errors.Is(err, unix.EMSGSIZE) {
				t.Errorf("got %v, want message too long", err)
			}
			client.Write(numbered(1, c.fits)) // may get an error that is left
			if _, err := client.Write(numbered(1, c.fits)); err != nil {
				t.Errorf("what fits: %v", err)
			}
			if reasons := mustCount(t, gateway, gateway.Egress).Reasons; reasons[TooBigAnswered] == 0 {
				t.Errorf("counted %s", printReasons(reasons))
			}
		})
	}
}

// TestTooBigIsAnsweredByteExact runs the program on a real MTU and looks at the
// answer itself.
func TestTooBigIsAnsweredByteExact(t *testing.T) {
	s := newSite(t)
	device := ethernet
	device.Index = s.client.Index("eth0")
	for _, options := range [][]byte{nil, payload(4), payload(40)} {
		s.client.Do(func() {
			programs := mustLoad(t, "", pushRule(wire.TCP), device)
			h := header(wire.UDP)
			h.Options = options
			packet := h.Packet(segment(wire.UDP, 1472-len(options)).Bytes(client, server))
			quoted := packet[:20+len(options)+8]
			want := wire.IPv4{Protocol: wire.ICMP, Source: server, Dest: client, TOS: 0xc0}.Packet(wire.FragmentationNeeded(1480, quoted))
			for _, program := range []program{pusher(programs), segmenting{programs.Segment}} {
				in := wire.Ethernet(wire.EtherTypeIPv4, packet)
				reason, verdict, out := reasonOf(t, programs, program, in)
				if reason != TooBigAnswered || verdict != redirect {
					t.Errorf("counted %v, verdict %d", reason, verdict)
				}
				sameFrame(t, out[14:], want)
				if string(out[:6]) != string(in[6:12]) || string(out[6:12]) != string(in[:6]) {
					t.Errorf("Ethernet addresses % x", out[:12])
				}
			}
		})
	}
}

// TestTooBigIsSilent: no answer to who may fragment, nor about packets to a group.
func TestTooBigIsSilent(t *testing.T) {
	s := newSite(t)
	device := ethernet
	device.Index = s.client.Index("eth0")
	group, may := header(wire.UDP), header(wire.UDP)
	group.Dest = netip.MustParseAddr("239.1.2.3")
	may.Fragment = 0
	s.client.Do(func() {
		programs := mustLoad(t, "", pushRule(wire.TCP), device)
		for _, h := range []wire.IPv4{group, may} {
			in := frame(h, segment(wire.UDP, 1472).Bytes(h.Source, h.Dest))
			reason, verdict, _ := reasonOf(t, programs, pusher(programs), in)
			if reason != TooBig || verdict != shot {
				t.Errorf("to %v: counted %v, verdict %d", h.Dest, reason, verdict)
			}
		}
	})
}
