// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// site is a client, a router that does what a node does for a Service, and a
// server, each in a namespace of its own:
//
//	client eth0 10.77.1.2 -- 10.77.1.1 c0 router s0 10.77.2.1 -- 10.77.2.2 eth0 server
//	         fd77:1::2       fd77:1::1             fd77:2::1       fd77:2::2
//
// The router turns port 179 of the service address into port 1179 of the
// server, tracks connections and drops what it holds for invalid.
type site struct {
	testing.TB
	client, router, server *testnet.Namespace
	arrives                *testnet.Capture // what arrives on the server's interface
	sourcePort             uint16           // of the outer header that pushedFrames saw last
}

var (
	serviceAddr = netip.MustParseAddr("10.96.0.10")
	serverAddr  = netip.MustParseAddr("10.77.2.2")

	service6 = netip.MustParseAddr("fd96::10")
)

func newSite(t testing.TB) *site {
	t.Helper()
	testnet.RequireRoot(t)
	s := &site{TB: t,
		client: testnet.NewNamespace(t, "client"),
		router: testnet.NewNamespace(t, "router"),
		server: testnet.NewNamespace(t, "server"),
	}
	testnet.Connect(s.client, "eth0", "10.77.1.2/24", s.router, "c0", "10.77.1.1/24")
	testnet.Connect(s.server, "eth0", "10.77.2.2/24", s.router, "s0", "10.77.2.1/24")
	s.client.Run("ip", "route", "add", "default", "via", "10.77.1.1")
	s.server.Run("ip", "route", "add", "default", "via", "10.77.2.1")
	s.client.Run("ip", "addr", "add", "fd77:1::2/64", "dev", "eth0", "nodad")
	s.router.Run("ip", "addr", "add", "fd77:1::1/64", "dev", "c0", "nodad")
	s.router.Run("ip", "addr", "add", "fd77:2::1/64", "dev", "s0", "nodad")
	s.server.Run("ip", "addr", "add", "fd77:2::2/64", "dev", "eth0", "nodad")
	s.client.Run("ip", "route", "add", "default", "via", "fd77:1::1")
	s.server.Run("ip", "route", "add", "default", "via", "fd77:2::1")
	s.router.Sysctl("net/ipv4/ip_forward", "1")
	s.router.Sysctl("net/ipv6/conf/all/forwarding", "1")
	s.router.Run("nft", routerRules)
	s.arrives = s.server.Capture("eth0")
	return s
}

// carriesSegment tells what may be pushed from ARP, ICMP and neighbour discovery.
func carriesSegment(frame []byte) bool {
	switch binary.BigEndian.Uint16(frame[12:]) {
	case wire.EtherTypeIPv4:
		return frame[14+9] != wire.ICMP
	case wire.EtherTypeIPv6:
		return frame[14+6] != wire.ICMPv6 && frame[14+6] != 0 // multicast listener reports
	}
	return false
}

// routerRules are what kube-proxy makes of a Service, in essence.
const routerRules = `
table inet site {
	chain forward {
		type filter hook forward priority filter
		ct state invalid counter drop
	}
	chain prerouting {
		type nat hook prerouting priority dstnat
		ip daddr 10.96.0.10 tcp dport 179 dnat ip to 10.77.2.2:1179
		ip daddr 10.96.0.10 udp dport 179 dnat ip to 10.77.2.2:1179
		ip6 daddr fd96::10 tcp dport 179 dnat ip6 to [fd77:2::2]:1179
		ip6 daddr fd96::10 udp dport 179 dnat ip6 to [fd77:2::2]:1179
	}
	chain postrouting {
		type nat hook postrouting priority srcnat
	}
}`

// masquerade hides the client behind the router, with source ports drawn anew.
func (s *site) masquerade() {
	s.router.Run("nft", "add rule inet site postrouting oifname s0 meta l4proto { tcp, udp } masquerade fully-random")
}

// funnel attaches rules to an interface of a namespace, with a segmenting
// device if they need one.
func (s *site) funnel(ns *testnet.Namespace, device, ingress, egress string) *Programs {
	s.Helper()
	i := Interface{Index: ns.Index(device), Ethernet: true}
	if NeedsSegmenting(mustCompile(s, ingress).Rules(), mustCompile(s, egress).Rules()) {
		i.SegmentA, i.SegmentB = segmentingDevice(ns)
	}
	programs := mustLoadIn(s, ns, ingress, egress, i)
	ns.Attach(device, testnet.Ingress, programs.Ingress)
	ns.Attach(device, testnet.Egress, programs.Egress)
	if programs.Segment != nil {
		ns.Attach("sfnb", testnet.Ingress, programs.Segment)
	}
	return programs
}

func mustLoadIn(t testing.TB, ns *testnet.Namespace, ingress, egress string, i Interface) *Programs {
	t.Helper()
	cfg := Config{Ingress: mustCompile(t, ingress), Egress: mustCompile(t, egress), Interface: i}
	var programs *Programs
	var err error
	ns.Do(func() { programs, err = Load(cfg) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { programs.Close() })
	return programs
}

// segmentingDevice makes what Interface asks for.
func segmentingDevice(ns *testnet.Namespace) (a, b int) {
	ns.Run("ip", "link", "add", "sfna", "mtu", "65535", "type", "veth", "peer", "name", "sfnb", "mtu", "65535")
	for _, end := range []string{"sfna", "sfnb"} {
		ns.OffloadsOff(end)
		ns.Run("ip", "link", "set", end, "addrgenmode", "none", "arp", "off", "up")
	}
	return ns.Index("sfna"), ns.Index("sfnb")
}

// listenUDP and dialUDP open sockets in a namespace.
func (s *site) listenUDP(ns *testnet.Namespace, port int) *net.UDPConn {
	s.Helper()
	var conn *net.UDPConn
	var err error
	ns.Do(func() { conn, err = net.ListenUDP("udp", &net.UDPAddr{Port: port}) })
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { conn.Close() })
	s.setOption(conn, largeBuffer)
	return conn
}

func (s *site) dialUDP(ns *testnet.Namespace, to netip.AddrPort, options ...option) *net.UDPConn {
	s.Helper()
	var conn *net.UDPConn
	var err error
	ns.Do(func() { conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to)) })
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { conn.Close() })
	for _, o := range options {
		s.setOption(conn, o)
	}
	return conn
}

// option is a socket option.
type option struct {
	level, name int
	value       []byte
}

var (
	largeBuffer = option{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, []byte{0, 0, 0, 2}} // 32 MiB
	noChecksum  = option{unix.SOL_SOCKET, unix.SO_NO_CHECK, []byte{1, 0, 0, 0}}
	ipOptions   = option{unix.IPPROTO_IP, unix.IP_OPTIONS, []byte{1, 1, 1, 1, 1, 1, 1, 0}} // no operation, end of list
	sendGSO     = option{unix.IPPROTO_UDP, unix.UDP_SEGMENT, []byte{0xe8, 3, 0, 0}}        // 1000
	dontFrag    = option{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, []byte{unix.IP_PMTUDISC_DO, 0, 0, 0}}
	dontFrag6   = option{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, []byte{unix.IPV6_PMTUDISC_DO, 0, 0, 0}}
	mayFrag     = option{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, []byte{unix.IP_PMTUDISC_DONT, 0, 0, 0}}
)

func (s *site) setOption(conn *net.UDPConn, o option) {
	s.Helper()
	raw, err := conn.SyscallConn()
	if err == nil {
		err2 := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptString(int(fd), o.level, o.name, string(o.value))
		})
		if err == nil {
			err = err2
		}
	}
	if err != nil {
		s.Fatalf("socket option %d/%d: %v", o.level, o.name, err)
	}
}

// numbered is a datagram that tells which one it is.
func numbered(i, length int) []byte {
	d := payload(max(length, 4))
	binary.BigEndian.PutUint32(d, uint32(i))
	return d
}

// mustReceive fails unless exactly these datagrams arrive, in any order.
func (s *site) mustReceive(conn *net.UDPConn, want map[string]int) {
	s.Helper()
	missing := 0
	for _, n := range want {
		missing += n
	}
	buffer := make([]byte, 65536)
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	for missing > 0 {
		n, err := conn.Read(buffer)
		if err != nil {
			s.Fatalf("%d datagrams did not arrive: %v", missing, err)
		}
		if want[string(buffer[:n])]--; want[string(buffer[:n])] < 0 {
			s.Fatalf("unexpected datagram of %d octets: % x", n, buffer[:min(n, 32)])
		}
		missing--
	}
}

// pushedFrames checks each frame that arrived at the server against the format
// of a push and returns how many there were.
func (s *site) pushedFrames(outer, inner byte) int {
	s.Helper()
	found := 0
	for _, f := range s.arrives.Frames() {
		if f.Outgoing || !carriesSegment(f.Data) {
			continue
		}
		if f.Partial {
			s.Fatal("arrived with a checksum that is still to be completed")
		}
		p, err := wire.Parse(f.Data[14:])
		if err != nil {
			s.Fatalf("outer header: %v\n% x", err, f.Data[:min(len(f.Data), 80)])
		}
		if p.Protocol != outer || p.DestPort != 1179 || (outer == wire.TCP && !p.Magic) {
			s.Fatalf("arrived unpushed: % x", f.Data[:min(len(f.Data), 80)])
		}
		if _, err := p.Inner(inner); err != nil {
			s.Fatalf("inner header: %v", err)
		}
		s.sourcePort = p.SourcePort
		found++
	}
	return found
}

// invalid returns how many packets the router dropped as invalid.
func (s *site) invalid() int {
	s.Helper()
	counter := s.router.Run("nft", "list chain inet site forward")
	_, figures, _ := strings.Cut(counter, "packets ")
	packets, _, _ := strings.Cut(figures, " ")
	n, err := strconv.Atoi(packets)
	if err != nil {
		s.Fatalf("no count in %q", counter)
	}
	return n
}
