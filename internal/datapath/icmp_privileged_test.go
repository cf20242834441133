// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

const (
	udpThroughTCP6 = "; ip6 daddr fd96::10 udp dport 4739 funnel tcp dport 179 sport 540"
	udpThroughUDP6 = "; ip6 daddr fd96::10 udp dport 4739 funnel udp dport 179 sport 540"
)

var services = map[string]netip.Addr{"IPv4": serviceAddr, "IPv6": service6}

// narrow makes the router forward to client and server no packets above an MTU.
func (s *site) narrow(mtu int) {
	for address, device := range map[string]string{"10.77.1.2": "c0", "10.77.2.2": "s0", "fd77:1::2": "c0", "fd77:2::2": "s0"} {
		s.router.Run("ip", "route", "add", address, "dev", device, "mtu", "lock", fmt.Sprint(mtu))
	}
}

// reject has a namespace answer packets by an ICMP error.
func reject(ns *testnet.Namespace, hook, match, with string) {
	ns.Run("nft", fmt.Sprintf("add table inet refuse; add chain inet refuse %s { type filter hook %s priority 10; }; "+
		"add rule inet refuse %s %s reject with icmpx %s", hook, hook, hook, match, with))
}

// TestPathMTUOfInlineFlows: on both sides of a router with a smaller MTU on its far
// side TCP finds out, and data goes on both ways.
func TestPathMTUOfInlineFlows(t *testing.T) {
	for name, prepare := range map[string]func(*site){"not masqueraded": func(*site) {}, "masqueraded": (*site).masquerade} {
		t.Run(name, func(t *testing.T) {
			s := newInlineSite(t)
			prepare(s.site)
			s.narrow(1300)
			s.attach()
			for _, service := range services {
				conn := s.open(service)
				sent, received, err := exchange(conn, 1<<20)
				if err != nil || !slices.Equal(sent, received) {
					t.Errorf("what came back differs from what was sent, or %v\n%s", err, s.report())
				}
				if got := pathMTU(t, conn, service); got != 1300 {
					t.Errorf("the client's path MTU is %d", got)
				}
				for side, p := range map[string]*Programs{"client": s.client, "server": s.server} {
					if n := mustCount(t, p, p.Ingress).Reasons[ErrorTranslated]; n == 0 {
						t.Errorf("%s: no error was translated\n%s", side, s.report())
					}
				}
			}
			s.checkRouter()
		})
	}
}

// socket is TCP or UDP.
type socket interface {
	SyscallConn() (syscall.RawConn, error)
}

// pathMTU is what a connected socket believes.
func pathMTU(t testing.TB, conn socket, to netip.Addr) int {
	t.Helper()
	level, name := unix.IPPROTO_IP, unix.IP_MTU
	if to.Is6() {
		level, name = unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	mtu := 0
	if err := onSocket(conn, func(fd int) (err error) {
		mtu, err = unix.GetsockoptInt(fd, level, name)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return mtu
}

// onSocket calls f with a socket's file descriptor.
func onSocket(conn socket, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	failed := raw.Control(func(fd uintptr) { err = f(int(fd)) })
	return errors.Join(failed, err)
}

// TestRefusalsOfInlineFlows: who refuses on the way, or in the pod, is heard by
// connect.
func TestRefusalsOfInlineFlows(t *testing.T) {
	for _, c := range []struct {
		name   string
		refuse func(*inlineSite)
		want   error
	}{
		{"router says port unreachable", func(s *inlineSite) { reject(s.router, "forward", "tcp dport 1179", "port-unreachable") }, unix.ECONNREFUSED},
		{"router says host unreachable", func(s *inlineSite) { reject(s.router, "forward", "tcp dport 1179", "host-unreachable") }, unix.EHOSTUNREACH},
		{"pod says port unreachable", func(s *inlineSite) { reject(s.site.server, "input", "tcp dport 8080", "port-unreachable") }, unix.ECONNREFUSED},
		{"pod says host unreachable", func(s *inlineSite) { reject(s.site.server, "input", "tcp dport 8080", "host-unreachable") }, unix.EHOSTUNREACH},
		{"too many hops", func(s *inlineSite) {
			s.site.client.Sysctl("net/ipv4/ip_default_ttl", "1")
			s.site.client.Sysctl("net/ipv6/conf/eth0/hop_limit", "1")
		}, unix.EHOSTUNREACH},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newInlineSite(t)
			c.refuse(s)
			s.attach()
			for family, service := range services {
				_, err := dial(s.site.client, 0, netip.AddrPortFrom(service, 8080))
				if !errors.Is(err, c.want) {
					t.Errorf("%s: got %v, want %v\n%s", family, err, c.want, s.report())
				}
			}
		})
	}
}

// TestRefusalOfAnswers: the client's host refuses what was unfunneled, and the
// backend's hears of it as what it had sent.
func TestRefusalOfAnswers(t *testing.T) {
	for family, service := range services {
		t.Run(family, func(t *testing.T) {
			s := newInlineSite(t)
			s.attach()
			reject(s.site.client, "input", "tcp sport 8080", "port-unreachable")
			go dial(s.site.client, 0, netip.AddrPortFrom(service, 8080))
			s.eventually("an error is translated at both ends", func() bool {
				return mustCount(t, s.client, s.client.Egress).Reasons[ErrorTranslated] > 0 &&
					mustCount(t, s.server, s.server.Ingress).Reasons[ErrorTranslated] > 0
			})
		})
	}
}

func (s *inlineSite) eventually(what string, holds func() bool) {
	s.Helper()
	s.until(what, holds, s.report)
}

// until waits for what holds soon, and else ends the test with a report.
func (s *site) until(what string, holds func() bool, report func() string) {
	s.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("%s: not within 10 s\n%s", what, report())
		}
	}
}

// pushedUDP are the ways to push datagrams, and what that costs.
var pushedUDP = map[string]struct {
	egress string
	header int
}{
	"through TCP": {udpThroughTCP + udpThroughTCP6, 20},
	"through UDP": {udpThroughUDP + udpThroughUDP6, 8},
}

// TestPathMTUOfPushedDatagrams: a socket that does not fragment is told what fits
// besides the pushed header.
func TestPathMTUOfPushedDatagrams(t *testing.T) {
	for name, push := range pushedUDP {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.narrow(1380)
			p := s.funnel(s.client, "eth0", "", push.egress)
			for family, service := range services {
				option := map[string]option{"IPv4": dontFrag, "IPv6": dontFrag6}[family]
				conn := s.dialUDP(s.client, netip.AddrPortFrom(service, 4739), option)
				s.untilError(conn, numbered(1, 1400), unix.EMSGSIZE)
				if got, want := pathMTU(t, conn, service), 1380-push.header; got != want {
					t.Errorf("%s: path MTU %d, want %d; %s", family, got, want, printReasons(mustCount(t, p, p.Ingress).Reasons))
				}
			}
		})
	}
}

// untilError sends a datagram until the socket tells of an error.
func (s *site) untilError(conn interface{ Write([]byte) (int, error) }, datagram []byte, want error) {
	s.Helper()
	for range 300 {
		if _, err := conn.Write(datagram); err != nil {
			if !errors.Is(err, want) {
				s.Errorf("the socket says %v, want %v", err, want)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.Errorf("the socket was not told: want %v", want)
}

func TestRefusalsOfPushedDatagrams(t *testing.T) {
	for name, push := range pushedUDP {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			reject(s.router, "forward", "meta l4proto { tcp, udp } th dport 1179", "port-unreachable")
			s.funnel(s.client, "eth0", "", push.egress)
			for _, service := range services {
				conn := s.dialUDP(s.client, netip.AddrPortFrom(service, 4739))
				s.untilError(conn, numbered(1, 200), unix.ECONNREFUSED)
			}
		})
	}
}
