// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// The Services of the document that the rule language comes from, in the place of
// <ClusterIP_1> and so on. The router leads port 80 of each to port 80 of the server.
var seedServices = []netip.Addr{
	netip.MustParseAddr("10.96.0.11"), netip.MustParseAddr("10.96.0.12"), netip.MustParseAddr("10.96.0.13"),
}

// newSeedSite is a site with these Services, where testdata/seed/pod_a.rules hold for
// the client and pod_b.rules for the server, after changes to both.
func newSeedSite(t *testing.T, change func(line string) string) (s *site, client, server *Programs) {
	t.Helper()
	s = newSite(t)
	for _, a := range seedServices {
		s.router.Run("nft", "add rule inet site prerouting ip daddr "+a.String()+" meta l4proto { tcp, udp } th dport 80 dnat ip to 10.77.2.2")
	}
	client = s.funnel(s.client, "eth0", "", seedRules(t, "pod_a", change))
	server = s.funnel(s.server, "eth0", seedRules(t, "pod_b", change), "")
	return s, client, server
}

func seedRules(t *testing.T, file string, change func(string) string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/seed/" + file + ".rules")
	if err != nil {
		t.Fatal(err)
	}
	filled := strings.NewReplacer("<ClusterIP_1>", seedServices[0].String(), "<ClusterIP_2>", seedServices[1].String(), "<ClusterIP_3>", seedServices[2].String()).Replace(string(text))
	lines := strings.Split(strings.TrimSpace(filled), "\n")
	for i, line := range lines {
		lines[i] = change(line)
	}
	return strings.Join(lines, "\n")
}

func asWritten(line string) string { return line }

// recommended is a line as docs/rules.md advises: with reply, and funneled in the
// protocol that the other side expects.
func recommended(line string) string {
	rule, _, _ := strings.Cut(line, "#")
	return strings.Replace(rule, " funnel udp", " funnel tcp", 1) + " reply"
}

// toOneService is that with one Service in the place of three.
func toOneService(line string) string {
	for _, a := range seedServices[1:] {
		line = strings.Replace(line, a.String(), seedServices[0].String(), 1)
	}
	return recommended(line)
}

// The first and the second line, as they are written: the connection comes to the
// socket that it is for, which answers as if nothing had been funneled. Nobody
// translates that.
func TestSeedLinesWithoutReply(t *testing.T) {
	for line, to := range seedStreams() {
		t.Run(to.String(), func(t *testing.T) {
			s, client, server := newSeedSite(t, asWritten)
			s.listenTCP(s.server, to.Port())
			back := s.client.Capture("eth0")
			s.beginTCP(s.client, to)
			s.until("an answer that the router drops", func() bool { return s.invalid() > 0 }, counted(t, server))
			if funneled := mustCount(t, client, client.Egress).Reasons[Funneled]; funneled == 0 {
				t.Errorf("line %d funneled nothing", line+1)
			}
			if unfunneled := mustCount(t, server, server.Ingress).Reasons[Unfunneled]; unfunneled == 0 {
				t.Errorf("nothing was unfunneled")
			}
			for _, p := range s.segments(s.arrives, true) {
				if p.Protocol != wire.TCP || p.SourcePort != to.Port() || p.Magic {
					t.Errorf("the server answered with %+v", p)
				}
			}
			if came := s.segments(back, false); len(came) > 0 {
				t.Errorf("the client was answered with %+v", came)
			}
		})
	}
}

// seedStreams are where the first and the second line's packets are sent.
func seedStreams() []netip.AddrPort {
	return []netip.AddrPort{netip.AddrPortFrom(seedServices[0], 443), netip.AddrPortFrom(seedServices[1], 8080)}
}

func counted(t *testing.T, p *Programs) func() string {
	return func() string { return printReasons(mustCount(t, p, p.Ingress).Reasons) }
}

// beginTCP sends the first segment of a connection and does not wait for what comes of it.
func (s *site) beginTCP(ns *testnet.Namespace, to netip.AddrPort) {
	s.Helper()
	var fd int
	var err error
	ns.Do(func() { fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0) })
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { unix.Close(fd) })
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != unix.EINPROGRESS {
		s.Fatalf("connect: %v", err)
	}
}

// segments are the TCP and UDP packets that went through an interface one way.
func (s *site) segments(c *testnet.Capture, outgoing bool) []wire.Parsed {
	s.Helper()
	var found []wire.Parsed
	for _, f := range c.Frames() {
		if f.Outgoing != outgoing || !carriesSegment(f.Data) {
			continue
		}
		parse := wire.Parse
		if f.Partial {
			parse = wire.ParsePartial
		}
		p, err := parse(f.Data[14:])
		if err != nil {
			s.Fatalf("%v\n% x", err, f.Data)
		}
		found = append(found, p)
	}
	return found
}

// The third line funnels in UDP, and the server unfunnels that port in TCP: the
// packet comes to whoever listens on the through port, header and all.
func TestSeedLineWithTheWrongProtocol(t *testing.T) {
	s, _, server := newSeedSite(t, asWritten)
	through := s.listenUDP(s.server, 80)
	conn := s.dialUDP(s.client, netip.AddrPortFrom(seedServices[2], 443))
	conn.Write(numbered(1, 100))
	through.SetReadDeadline(time.Now().Add(5 * time.Second))
	got := make([]byte, 1000)
	n, from, err := through.ReadFromUDPAddrPort(got)
	if err != nil || n != 108 || from.Port() != 541 || !bytes.Equal(got[8:n], numbered(1, 100)) {
		t.Errorf("%d octets from %v: %v", n, from, err)
	}
	if reasons := mustCount(t, server, server.Ingress).Reasons; reasons[NoMatch] != 1 || reasons[Unfunneled] != 0 {
		t.Errorf("counted %s", printReasons(reasons))
	}
}

// Each line works by itself in the form that docs/rules.md recommends, and all
// together where the ports are those of one Service.
func TestSeedLinesAsRecommended(t *testing.T) {
	for _, to := range seedStreams() {
		t.Run(to.String(), func(t *testing.T) {
			s, _, _ := newSeedSite(t, recommended)
			s.mustEcho(to)
		})
	}
	quic := netip.AddrPortFrom(seedServices[2], 443)
	t.Run(quic.String()+", UDP", func(t *testing.T) {
		s, _, _ := newSeedSite(t, recommended)
		s.mustEchoDatagrams(quic)
	})
	t.Run("all, of one Service", func(t *testing.T) {
		s, _, server := newSeedSite(t, toOneService)
		for _, to := range seedStreams() {
			s.mustEcho(netip.AddrPortFrom(seedServices[0], to.Port()))
		}
		s.mustEchoDatagrams(netip.AddrPortFrom(seedServices[0], 443))
		if reasons := mustCount(t, server, server.Ingress).Reasons; reasons[NoMatch] != 0 {
			t.Errorf("counted %s", printReasons(reasons))
		}
	})
}

// mustEcho exchanges some data with a server that listens on that port.
func (s *site) mustEcho(to netip.AddrPort) {
	s.Helper()
	go echo(s.listenTCP(s.server, to.Port()))
	if sent, received := s.mustExchange(s.dialTCP(s.client, to), 256<<10); !bytes.Equal(sent, received) {
		s.Error("what came back differs from what was sent")
	}
	if n := s.invalid(); n != 0 {
		s.Errorf("the router dropped %d packets as invalid", n)
	}
}

func (s *site) mustEchoDatagrams(to netip.AddrPort) {
	s.Helper()
	go echoDatagrams(s.listenUDP(s.server, int(to.Port())))
	conn := s.dialUDP(s.client, to)
	for i := range 20 {
		conn.Write(numbered(i, 100+i*40))
		s.mustReceive(conn, map[string]int{string(numbered(i, 100+i*40)): 1})
	}
}

// From one source port to two Services that lead to one pod: behind them both look
// alike, so that Linux draws another source port for the second, which the server's
// rule does not match.
func TestSeedLinesToTwoServicesAtOnce(t *testing.T) {
	s, _, server := newSeedSite(t, recommended)
	streams := seedStreams()
	s.mustEcho(streams[0])
	s.listenTCP(s.server, streams[1].Port())
	s.beginTCP(s.client, streams[1])
	s.until("a packet that no rule matches", func() bool { return mustCount(t, server, server.Ingress).Reasons[NoMatch] > 0 }, counted(t, server))
	drawn := slices.ContainsFunc(s.segments(s.arrives, false), func(p wire.Parsed) bool {
		return p.Protocol == wire.TCP && p.Magic && p.DestPort == 80 && p.SourcePort >= 600 && p.SourcePort <= 1023
	})
	if !drawn {
		t.Error("no pushed packet has another source port")
	}
}
