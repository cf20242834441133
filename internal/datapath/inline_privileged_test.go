// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

const (
	inlineClient = "ip daddr 10.96.0.10 tcp dport { 8080, 9090, 7070 } funnel tcp dport 179 inline; " +
		"ip6 daddr fd96::10 tcp dport { 8080, 9090, 7070 } funnel tcp dport 179 inline"
	inlineServer = "tcp dport 1179 unfunnel tcp inline dport { 8080, 9090, 7070 }"
)

var inlinePorts = []uint16{8080, 9090, 7070}

// inlineSite is a site with inline rules and a server on each port, which echoes,
// and begins with a line that names the port.
type inlineSite struct {
	*site
	client, server *Programs
}

func newInlineSite(t testing.TB) *inlineSite {
	t.Helper()
	s := newSite(t)
	for _, port := range append(slices.Clone(inlinePorts), 1179) {
		go serve(s.listenTCP(s.server, port), port)
	}
	return &inlineSite{site: s}
}

func (s *inlineSite) attach() {
	s.client = s.funnel(s.site.client, "eth0", "", inlineClient)
	s.server = s.funnel(s.site.server, "eth0", inlineServer, "")
}

// serve says the port, then returns what it is sent.
func serve(l net.Listener, port uint16) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			if _, err := conn.Write(greeting(port)); err == nil {
				io.Copy(conn, conn)
			}
		}()
	}
}

func greeting(port uint16) []byte { return binary.BigEndian.AppendUint16(nil, port) }

// dial connects from a namespace; from port 0 is any.
func dial(ns *testnet.Namespace, fromPort int, to netip.AddrPort) (*net.TCPConn, error) {
	var conn net.Conn
	var err error
	ns.Do(func() {
		d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{Port: fromPort}}
		conn, err = d.Dial("tcp", to.String())
	})
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn.(*net.TCPConn), nil
}

// open connects to port 8080 of an address and talks.
func (s *inlineSite) open(service netip.Addr) *net.TCPConn {
	s.Helper()
	conn, err := dial(s.site.client, 0, netip.AddrPortFrom(service, 8080))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { conn.Close() })
	if err := talk(conn, 8080, payload(100)); err != nil {
		s.Fatal(err)
	}
	return conn
}

// talk checks that a connection is to the port and brings back what it is sent.
func talk(conn *net.TCPConn, port uint16, data []byte) error {
	got := make([]byte, 2)
	if _, err := io.ReadFull(conn, got); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	return echoed(conn, port, got, data)
}

func echoed(conn *net.TCPConn, port uint16, got, data []byte) error {
	if !slices.Equal(got, greeting(port)) {
		return fmt.Errorf("reached port %d instead of %d", binary.BigEndian.Uint16(got), port)
	}
	if _, err := conn.Write(data); err != nil {
		return err
	}
	back := make([]byte, len(data))
	if _, err := io.ReadFull(conn, back); err != nil {
		return err
	}
	if !slices.Equal(back, data) {
		return errors.New("other data came back")
	}
	return nil
}

// checkFrames looks at each TCP segment that arrived at the server: checksums are
// right, and it is either marked with one of the ports or goes to the through
// port without a marker.
func (s *inlineSite) checkFrames() (marked, direct int) {
	s.Helper()
	for _, f := range s.arrives.Frames() {
		l4 := 14 + 20
		switch {
		case f.Outgoing || len(f.Data) < 54:
			continue
		case f.Data[12] == 0x86 && f.Data[14+6] == wire.TCP:
			l4 = 14 + 40
		case f.Data[12] != 8 || f.Data[14+9] != wire.TCP:
			continue
		}
		p, err := wire.Parse(f.Data[14:])
		if f.Partial {
			// The sum is still to be completed: only a whole one can be checked.
			p.DestPort, p.Segment = binary.BigEndian.Uint16(f.Data[l4+2:]), f.Data[l4:]
		} else if err != nil {
			s.Fatalf("%v\n% x", err, f.Data[:min(len(f.Data), 80)])
		}
		urgent := binary.BigEndian.Uint16(p.Segment[18:])
		switch {
		case p.DestPort != 1179:
			s.Fatalf("arrived at port %d: % x", p.DestPort, f.Data[:54])
		case urgent == 0:
			direct++
		case !slices.Contains(inlinePorts, urgent) || p.Segment[13]&wire.URG != 0:
			s.Fatalf("marker %d, flags %#x", urgent, p.Segment[13])
		default:
			marked++
		}
	}
	return marked, direct
}

// checkRouter fails when the router took a packet for invalid.
func (s *inlineSite) checkRouter() {
	s.Helper()
	if n := s.invalid(); n != 0 {
		s.Errorf("the router dropped %d packets as invalid", n)
	}
}

func (s *inlineSite) report() string {
	out := ""
	for _, p := range []*Programs{s.client, s.server} {
		for _, program := range []string{"egress", "ingress"} {
			use := p.Egress
			if program == "ingress" {
				use = p.Ingress
			}
			out += program + ": " + printReasons(mustCount(s, p, use).Reasons) + "\n"
		}
	}
	return out
}

// TestInlineManyConnections opens thousands of connections to three funneled
// ports and to the through port itself, keeps all of them open and uses each.
func TestInlineManyConnections(t *testing.T) {
	s := newInlineSite(t)
	s.attach()
	const workers = 8
	ports := append(slices.Clone(inlinePorts), 179)
	each := connections(t, scaled(2000)) / len(ports)
	var wait sync.WaitGroup
	errs := make(chan error, each*len(ports))
	open := make(chan *net.TCPConn, each*len(ports))
	for w := range workers {
		wait.Go(func() {
			for i := w; i < each*len(ports); i += workers {
				port := ports[i%len(ports)]
				service := []netip.Addr{serviceAddr, service6}[i/len(ports)%2]
				conn, err := dial(s.site.client, 0, netip.AddrPortFrom(service, port))
				if err == nil {
					open <- conn
					if port == 179 {
						port = 1179
					}
					err = talk(conn, port, numbered(i, 100+i%1000))
				}
				if err != nil {
					errs <- fmt.Errorf("connection %d to %d: %w", i, port, err)
				}
			}
		})
	}
	wait.Wait()
	close(errs)
	close(open)
	for err := range errs {
		t.Error(err)
	}
	for conn := range open {
		conn.Close()
	}
	marked, direct := s.checkFrames()
	t.Logf("%d marked segments, %d direct ones\n%s", marked, direct, s.report())
	if marked < each*3*3 || direct < each*3 {
		t.Errorf("%d marked segments, %d direct ones", marked, direct)
	}
	s.checkRouter()
}

// TestInlineBulk moves data both ways at once over one connection per port.
func TestInlineBulk(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*site)
	}{
		{"all offloads", func(*site) {}},
		{"router completes checksums", routerTxOff},
		{"whole checksums", wholeChecksums},
		{"merging everywhere", routerMerges},
		{"masqueraded", (*site).masquerade},
		{"no offloads", noOffloads},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newInlineSite(t)
			c.prepare(s.site)
			s.attach()
			var wait sync.WaitGroup
			for i, port := range inlinePorts {
				service := []netip.Addr{serviceAddr, service6}[i%2]
				wait.Go(func() {
					conn, err := dial(s.site.client, 0, netip.AddrPortFrom(service, port))
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					got := make([]byte, 2)
					if _, err := io.ReadFull(conn, got); err != nil || !slices.Equal(got, greeting(port)) {
						t.Errorf("greeting %v, %v", got, err)
						return
					}
					sent, received, err := exchange(conn, int64(scaled(4<<20)))
					if err != nil || !slices.Equal(sent, received) {
						t.Errorf("port %d: what came back differs from what was sent, or %v", port, err)
					}
				})
			}
			wait.Wait()
			s.checkFrames()
			s.checkRouter()
		})
	}
}

// noOffloads has every end segment and sum by itself.
func noOffloads(s *site) {
	everyHop((*testnet.Namespace).OffloadsOff)(s)
}

// TestInlineWithoutBackend: nobody unfunnels, and another program answers on the
// through port. The application is refused, or reset, and hears nothing of it.
func TestInlineWithoutBackend(t *testing.T) {
	s := newInlineSite(t)
	s.client = s.funnel(s.site.client, "eth0", "", inlineClient)
	for family, service := range services {
		before := mustCount(t, s.client, s.client.Ingress).Reasons[MarkerMissing]
		_, err := dial(s.site.client, 0, netip.AddrPortFrom(service, 8080))
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: got %v, want connection refused", family, err)
		}
		if n := mustCount(t, s.client, s.client.Ingress).Reasons[MarkerMissing]; n == before {
			t.Errorf("%s: marker_missing was not counted", family)
		}
	}
}

// TestInlineMarkerStripped: the router clears urgent pointers of what goes back,
// first of all and then in the middle of a connection.
func TestInlineMarkerStripped(t *testing.T) {
	s := newInlineSite(t)
	s.attach()
	open := map[string]*net.TCPConn{}
	for family, service := range services {
		conn := s.open(service)
		open[family] = conn
	}
	s.stripMarkers()
	for family, service := range services {
		if err := echoedAgain(open[family]); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s, connection that was open: %v, want a reset", family, err)
		}
		if _, err := dial(s.site.client, 0, netip.AddrPortFrom(service, 9090)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s, new connection: %v, want connection refused", family, err)
		}
	}
}

// route lets the router bring another port of the service to the server.
func (s *site) route(port uint16) {
	s.router.Run("nft", fmt.Sprintf("add table ip more; add chain ip more in { type nat hook prerouting priority -110; }; "+
		"add rule ip more in ip daddr %s tcp dport %d dnat to %s", serviceAddr, port, serverAddr))
}

// stripMarkers clears the urgent pointer of segments from the through port.
func (s *inlineSite) stripMarkers() {
	s.router.Run("nft", "add table inet strip; add chain inet strip out { type filter hook postrouting priority 300; }; "+
		"add rule inet strip out oifname c0 tcp sport { 179, 1179 } tcp urgptr set 0")
}

func echoedAgain(conn *net.TCPConn) error {
	if _, err := conn.Write(payload(50)); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 50))
	return err
}

// TestInlineOlderConnection: connections that were open before the rules go on,
// and new ones are funneled.
func TestInlineOlderConnection(t *testing.T) {
	s := newInlineSite(t)
	s.route(8080)
	older := s.open(serviceAddr)
	s.attach()
	if err := echoedAgain(older); err != nil {
		t.Errorf("the older connection: %v", err)
	}
	if n := mustCount(t, s.client, s.client.Egress).Reasons[NotClaimed]; n == 0 {
		t.Error("not_claimed was not counted")
	}
	s.open(serviceAddr)
	if n := mustCount(t, s.client, s.client.Egress).Reasons[Funneled]; n == 0 {
		t.Error("the newer connection was not funneled")
	}
}

// exchange sends n random octets and returns the hashes of what was sent and of
// what came back.
func exchange(conn *net.TCPConn, n int64) (sent, received []byte, err error) {
	conn.SetDeadline(time.Now().Add(time.Minute))
	out, in := sha256.New(), sha256.New()
	source := io.LimitReader(rand.NewChaCha8([32]byte{1}), n)
	failed := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, io.TeeReader(source, out))
		failed <- errors.Join(err, conn.CloseWrite())
	}()
	_, err = io.Copy(in, conn)
	return out.Sum(nil), in.Sum(nil), errors.Join(err, <-failed)
}

// connections is how many this process can have both ends of, at most n.
func connections(t testing.TB, n int) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	raised := syscall.Rlimit{Cur: 1 << 16, Max: max(1<<16, limit.Max)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
		limit = raised
	}
	return min(n, (int(limit.Cur)-200)/2)
}
