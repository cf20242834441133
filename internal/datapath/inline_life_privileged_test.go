// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

// TestInlineConnectionsEnd: ends of data, resets, and a port used again, between
// sockets.
func TestInlineConnectionsEnd(t *testing.T) {
	s := newInlineSite(t)
	accepted := s.accept(6060)
	s.client = s.funnel(s.site.client, "eth0", "", "tcp dport 6060 funnel tcp dport 179 inline")
	s.server = s.funnel(s.site.server, "eth0", "tcp dport 1179 unfunnel tcp inline dport 6060", "")
	for family, service := range services {
		to := netip.AddrPortFrom(service, 6060)
		for _, c := range []struct {
			name string
			from int
			end  func(client, server *net.TCPConn) error
		}{
			{"server ends first", 40000, endFirst},
			{"the same port again, the server is in TIME_WAIT", 40000, endFirst},
			{"and once more", 40000, endFirst},
			{"client ends first", 0, func(client, server *net.TCPConn) error { return endFirst(server, client) }},
			{"both end at once", 0, endTogether},
			{"server ends, client goes on", 0, halfClose},
			{"server resets", 0, resetBy},
			{"client resets", 0, func(client, server *net.TCPConn) error { return resetBy(server, client) }},
		} {
			client, err := dial(s.site.client, c.from, to)
			if err != nil {
				t.Fatalf("%s, %s: %v\n%s", family, c.name, err, s.report())
			}
			server := <-accepted
			if err := c.end(client, server); err != nil {
				t.Errorf("%s, %s: %v", family, c.name, err)
			}
			client.Close()
			server.Close()
		}
	}
	s.checkRouter()
}

// accept takes connections to a port of the server.
func (s *inlineSite) accept(port uint16) <-chan *net.TCPConn {
	l := s.listenTCP(s.site.server, port)
	accepted := make(chan *net.TCPConn, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(30 * time.Second))
			accepted <- conn.(*net.TCPConn)
		}
	}()
	return accepted
}

// hears fails unless the end of what the other side sends is the next thing.
func hears(conn *net.TCPConn) error {
	if rest, err := io.ReadAll(conn); err != nil || len(rest) != 0 {
		return errors.Join(fmt.Errorf("heard %d octets", len(rest)), err)
	}
	return nil
}

// endFirst: b ends, then a, which has b stay in TIME_WAIT.
func endFirst(a, b *net.TCPConn) error {
	return errors.Join(b.CloseWrite(), hears(a), a.CloseWrite(), hears(b))
}

func endTogether(a, b *net.TCPConn) error {
	return errors.Join(a.CloseWrite(), b.CloseWrite(), hears(a), hears(b))
}

func halfClose(a, b *net.TCPConn) error {
	if err := errors.Join(b.CloseWrite(), hears(a)); err != nil {
		return err
	}
	data, got := payload(5000), make([]byte, 5000)
	if _, err := a.Write(data); err != nil {
		return err
	}
	if _, err := io.ReadFull(b, got); err != nil || !slices.Equal(got, data) {
		return errors.Join(errors.New("other data after the half close"), err)
	}
	return errors.Join(a.CloseWrite(), hears(b))
}

func resetBy(a, b *net.TCPConn) error {
	b.SetLinger(0)
	b.Close()
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		return errors.Join(errors.New("reads on after a reset"), err)
	}
	return nil
}

// TestInlineGateway: the router funnels for 8 hosts that all use the same source
// port.
func TestInlineGateway(t *testing.T) {
	for _, c := range []struct {
		name, device    string
		ingress, egress string
		to              map[string]netip.Addr
		prepare         func(*site)
	}{
		{"on the way out", "s0", "", "tcp dport { 8080, 9090, 7070 } funnel tcp dport 1179 inline", backends, func(*site) {}},
		{"on the way out, masqueraded", "s0", "", "tcp dport { 8080, 9090, 7070 } funnel tcp dport 1179 inline", backends, (*site).masqueradePlainly},
		{"as it arrives, before it is translated", "c0", "tcp dport { 8080, 9090, 7070 } funnel tcp dport 179 inline", "", services, func(*site) {}},
		{"as it arrives, then masqueraded", "c0", "tcp dport { 8080, 9090, 7070 } funnel tcp dport 179 inline", "", services, (*site).masquerade},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newInlineSite(t)
			c.prepare(s.site)
			s.client = s.funnel(s.router, c.device, c.ingress, c.egress)
			s.server = s.funnel(s.site.server, "eth0", inlineServer, "")
			for family, to := range c.to {
				for host := range 8 {
					from := s.host(family, host)
					conn, err := dialFrom(s.site.client, netip.AddrPortFrom(from, 40000), netip.AddrPortFrom(to, inlinePorts[host%3]))
					if err != nil {
						t.Fatalf("%s: %v\n%s", from, err, s.report())
					}
					defer conn.Close()
					if err := talk(conn, inlinePorts[host%3], payload(3000)); err != nil {
						t.Errorf("%s: %v", from, err)
					}
				}
			}
			s.checkFrames()
			s.checkRouter()
		})
	}
}

// TestInlineGatewayForwardsChains: the router merges what it forwards into chains of packets
// that keep their headers. Each of them gets the marker.
func TestInlineGatewayForwardsChains(t *testing.T) {
	const out, in = "tcp dport 8080 funnel tcp dport 1179 inline", "tcp dport 8080 funnel tcp dport 179 inline"
	for _, c := range []struct {
		name, device    string
		ingress, egress string
		to              map[string]netip.Addr
		handsOn         bool // the chains, as they are
	}{
		{"on the way out", "s0", "", out, backends, false},
		{"on the way out, handed on", "s0", "", out, backends, true},
		{"as it arrives", "c0", in, "", services, false},
		{"as it arrives, handed on", "c0", in, "", services, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newInlineSite(t)
			routerForwardsMerged("rx-gro-list", "tx-gso-list")(s.site)
			s.router.Offload("s0", c.handsOn, "tx-gso-list")
			s.client = s.funnel(s.router, c.device, c.ingress, c.egress)
			s.server = s.funnel(s.site.server, "eth0", inlineServer, "")
			arrives := s.router.Capture("c0")
			for family, to := range c.to {
				conn, err := dial(s.site.client, 0, netip.AddrPortFrom(to, 8080))
				if err != nil {
					t.Fatalf("%s: %v\n%s", family, err, s.report())
				}
				defer conn.Close()
				if err := talk(conn, 8080, payload(100)); err != nil {
					t.Fatalf("%s: %v", family, err)
				}
				sent, received, err := exchange(conn, 1<<20)
				if err != nil || !slices.Equal(sent, received) {
					t.Errorf("%s: what came back differs from what was sent, or %v", family, err)
				}
			}
			if !slices.ContainsFunc(arrives.Frames(), func(f testnet.Frame) bool { return !f.Outgoing && len(f.Data) > 1514 }) {
				t.Error("nothing was merged")
			}
			if !c.handsOn {
				if marked, direct := s.checkFrames(); marked < 1<<20/1500*len(c.to) || direct > 0 {
					t.Errorf("%d segments arrived marked, %d without a marker", marked, direct)
				}
			}
			s.checkRouter()
		})
	}
}

// backends are the server itself.
var backends = map[string]netip.Addr{"IPv4": serverAddr, "IPv6": netip.MustParseAddr("fd77:2::2")}

// host gives the client one more address.
func (s *inlineSite) host(family string, i int) netip.Addr {
	address := fmt.Sprintf("10.77.1.%d/24", 100+i)
	if family == "IPv6" {
		address = fmt.Sprintf("fd77:1::%x/64", 256+i)
		s.site.client.Run("ip", "addr", "add", address, "dev", "eth0", "nodad")
	} else {
		s.site.client.Run("ip", "addr", "add", address, "dev", "eth0")
	}
	return netip.MustParsePrefix(address).Addr()
}

func dialFrom(ns *testnet.Namespace, from, to netip.AddrPort) (*net.TCPConn, error) {
	var conn net.Conn
	var err error
	ns.Do(func() {
		d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(from)}
		conn, err = d.Dial("tcp", to.String())
	})
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn.(*net.TCPConn), nil
}

// masqueradePlainly keeps source ports where it can.
func (s *site) masqueradePlainly() {
	s.router.Run("nft", "add rule inet site postrouting oifname s0 meta l4proto { tcp, udp } masquerade")
}

// TestInlineWithSYNCookies: the server keeps nothing of a SYN.
func TestInlineWithSYNCookies(t *testing.T) {
	s := newInlineSite(t)
	s.site.server.Sysctl("net/ipv4/tcp_syncookies", "2") // always
	s.attach()
	for family, service := range services {
		conn, err := dial(s.site.client, 0, netip.AddrPortFrom(service, 8080))
		if err != nil {
			t.Fatalf("%s: %v", family, err)
		}
		defer conn.Close()
		if err := talk(conn, 8080, payload(3000)); err != nil {
			t.Errorf("%s: %v", family, err)
		}
	}
	if sent := s.statistic("TcpExtSyncookiesRecv"); sent == "0" {
		t.Error("no cookie came back")
	}
}

// statistic reads a counter of the server's namespace.
func (s *inlineSite) statistic(name string) string {
	s.Helper()
	fields := strings.Fields(s.site.server.Run("nstat", "-asz", name))
	if i := slices.Index(fields, name); i >= 0 && i+1 < len(fields) {
		return fields[i+1]
	}
	s.Fatalf("no counter %s in %q", name, fields)
	return ""
}

// TestInlineWithFastOpen: the second connection brings data with its SYN.
func TestInlineWithFastOpen(t *testing.T) {
	s := newInlineSite(t)
	for _, ns := range []*testnet.Namespace{s.site.client, s.site.server} {
		ns.Sysctl("net/ipv4/tcp_fastopen", "1027") // both sides, all listeners
	}
	// Those of the site were opened before.
	go serve(s.listenTCP(s.site.server, 8081), 8081)
	s.client = s.funnel(s.site.client, "eth0", "", "tcp dport 8081 funnel tcp dport 179 inline")
	s.server = s.funnel(s.site.server, "eth0", "tcp dport 1179 unfunnel tcp inline dport 8081", "")
	for family, service := range services {
		for round := range 2 {
			conn := s.dialFastOpen(netip.AddrPortFrom(service, 8081))
			data := payload(500)
			if _, err := conn.Write(data); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 2+len(data))
			if _, err := io.ReadFull(conn, got); err != nil || !slices.Equal(got, append(greeting(8081), data...)) {
				t.Errorf("%s, connection %d: %v", family, round, err)
			}
			if accepted := s.synDataAcknowledged(conn); accepted != (round == 1) {
				t.Errorf("%s, connection %d: data with the SYN was acknowledged: %v", family, round, accepted)
			}
			conn.Close()
		}
	}
	s.checkRouter()
}

func (s *inlineSite) dialFastOpen(to netip.AddrPort) *net.TCPConn {
	s.Helper()
	var conn net.Conn
	var err error
	s.site.client.Do(func() {
		d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			failed := raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
			})
			return errors.Join(failed, err)
		}}
		conn, err = d.Dial("tcp", to.String())
	})
	if err != nil {
		s.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn.(*net.TCPConn)
}

// synDataAcknowledged is TCPI_OPT_SYN_DATA of linux/tcp.h.
func (s *inlineSite) synDataAcknowledged(conn *net.TCPConn) bool {
	s.Helper()
	var info *unix.TCPInfo
	if err := onSocket(conn, func(fd int) (err error) {
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	}); err != nil {
		s.Fatal(err)
	}
	return info.Options&0x20 != 0
}

// TestInlineWithMultipath: the connection is a multipath one on both ends.
func TestInlineWithMultipath(t *testing.T) {
	s := newInlineSite(t)
	var listen net.ListenConfig
	listen.SetMultipathTCP(true)
	var l net.Listener
	var err error
	s.site.server.Do(func() { l, err = listen.Listen(t.Context(), "tcp", "[::]:8081") })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go serve(l, 8081)
	s.client = s.funnel(s.site.client, "eth0", "", "tcp dport 8081 funnel tcp dport 179 inline")
	s.server = s.funnel(s.site.server, "eth0", "tcp dport 1179 unfunnel tcp inline dport 8081", "")
	for family, service := range services {
		var conn net.Conn
		d := net.Dialer{Timeout: 10 * time.Second}
		d.SetMultipathTCP(true)
		s.site.client.Do(func() { conn, err = d.Dial("tcp", netip.AddrPortFrom(service, 8081).String()) })
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if err := talk(conn.(*net.TCPConn), 8081, payload(30000)); err != nil {
			t.Errorf("%s: %v", family, err)
		}
		if multipath, err := conn.(*net.TCPConn).MultipathTCP(); err != nil || !multipath {
			t.Errorf("%s: multipath %v, %v", family, multipath, err)
		}
	}
	if n := mustCount(t, s.client, s.client.Egress).Reasons[Funneled]; n == 0 {
		t.Error("nothing was funneled")
	}
}
