// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

// answeredUDP are the ways to push datagrams and their answers, and what that costs.
var answeredUDP = map[string]struct {
	client, server string
	header         int
}{
	"through TCP": {udpInKind, udpBackend, 20},
	"through UDP": {udp2InKind, udp2Backend, 8},
}

// TestRefusalsByPods: a client's connected socket hears that nobody listens in the
// pod, and a pod's that the client went away.
func TestRefusalsByPods(t *testing.T) {
	for name, push := range answeredUDP {
		for family, service := range services {
			t.Run(name+", "+family, func(t *testing.T) {
				s := newSite(t)
				s.funnel(s.client, "eth0", "", push.client)
				s.funnel(s.server, "eth0", push.server, "")
				conn := s.dialUDP(s.client, netip.AddrPortFrom(service, 4739))
				s.untilError(conn, numbered(1, 1400), unix.ECONNREFUSED)

				conn, answers := s.answered(service)
				if err := conn.Close(); err != nil {
					t.Fatal(err)
				}
				s.untilError(answers, numbered(1, 1400), unix.ECONNREFUSED)
				if n := s.invalid(); n != 0 {
					t.Errorf("the router dropped %d packets as invalid", n)
				}
			})
		}
	}
}

// answered returns a client's socket and a server's connected one, which has
// received a datagram of the client's.
func (s *site) answered(service netip.Addr, options ...option) (conn, answers *net.UDPConn) {
	s.Helper()
	listener := s.listenUDP(s.server, 4739)
	conn = s.dialUDP(s.client, netip.AddrPortFrom(service, 4739))
	if _, err := conn.Write(numbered(1, 10)); err != nil {
		s.Fatal(err)
	}
	listener.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, from, err := listener.ReadFromUDPAddrPort(make([]byte, 100))
	if err != nil {
		s.Fatal(err)
	}
	listener.Close()
	s.server.Do(func() {
		answers, err = net.DialUDP("udp", &net.UDPAddr{Port: 4739}, net.UDPAddrFromAddrPort(from))
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { answers.Close() })
	for _, o := range options {
		s.setOption(answers, o)
	}
	return conn, answers
}

// TestPathMTUOfAnsweredDatagrams: the pod's socket is told what fits besides the
// header that its answers get, also where the router hides the client.
func TestPathMTUOfAnsweredDatagrams(t *testing.T) {
	for name, push := range answeredUDP {
		for family, service := range services {
			t.Run(name+", "+family, func(t *testing.T) {
				s := newSite(t)
				if name == "through TCP" {
					s.masquerade()
				}
				s.narrow(1380)
				s.funnel(s.client, "eth0", "", push.client)
				p := s.funnel(s.server, "eth0", push.server, "")
				_, answers := s.answered(service, map[string]option{"IPv4": dontFrag, "IPv6": dontFrag6}[family])
				s.untilError(answers, numbered(1, 1400), unix.EMSGSIZE)
				if got, want := pathMTU(t, answers, service), 1380-push.header; got != want {
					t.Errorf("path MTU %d, want %d; %s", got, want, printReasons(mustCount(t, p, p.Ingress).Reasons))
				}
			})
		}
	}
}

// TestPathMTUOfPushedTCP: both sides find out what fits, and data goes on both ways.
func TestPathMTUOfPushedTCP(t *testing.T) {
	for family, service := range services {
		t.Run(family, func(t *testing.T) {
			s := newSite(t)
			s.narrow(1380)
			client := s.funnel(s.client, "eth0", "", tcpInKind)
			server := s.funnel(s.server, "eth0", tcpBackend, "")
			go echo(s.listenTCP(s.server, 8080))
			conn := s.dialTCP(s.client, netip.AddrPortFrom(service, 8080))
			sent, received := s.mustExchange(conn, 1<<20)
			if !slices.Equal(sent, received) {
				t.Error("what came back differs from what was sent")
			}
			if got := pathMTU(t, conn, service); got != 1360 {
				t.Errorf("the client's path MTU is %d", got)
			}
			for side, p := range map[string]*Programs{"client": client, "server": server} {
				if reasons := mustCount(t, p, p.Ingress).Reasons; reasons[ErrorTranslated] == 0 {
					t.Errorf("%s: %s", side, printReasons(reasons))
				}
			}
		})
	}
}

// TestPathMTUBehindAPod: a pod that forwards tells clients how much fits behind it,
// which is less than what may be pushed to it.
func TestPathMTUBehindAPod(t *testing.T) {
	for name, push := range answeredUDP {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			behind := testnet.NewNamespace(t, "behind")
			testnet.Connect(behind, "eth0", "10.77.3.2/24", s.server, "b0", "10.77.3.1/24")
			behind.Run("ip", "route", "add", "default", "via", "10.77.3.1")
			s.server.Sysctl("net/ipv4/ip_forward", "1")
			s.server.Run("ip", "route", "add", "10.77.3.2", "dev", "b0", "mtu", "lock", "1300")
			s.router.Run("ip", "route", "add", "10.77.3.0/24", "via", "10.77.2.2")
			s.router.Run("nft", "add rule inet site prerouting ip daddr 10.96.0.11 meta l4proto { tcp, udp } th dport 179 dnat ip to 10.77.3.2:1179")
			s.funnel(s.client, "eth0", "", push.client)
			s.funnel(s.server, "eth0", push.server, "")
			service := netip.MustParseAddr("10.96.0.11")
			conn := s.dialUDP(s.client, netip.AddrPortFrom(service, 4739), dontFrag)
			s.untilError(conn, numbered(1, 1400), unix.EMSGSIZE)
			if got := pathMTU(t, conn, service); got != 1300 {
				t.Errorf("path MTU %d, want 1300", got)
			}
		})
	}
}
