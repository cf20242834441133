// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// way is one setting of the devices between client and server. Whatever it is,
// what is sent must arrive, and arrive right.
type way struct {
	name    string
	prepare func(*site)
	// hides tells that the router masquerades. Then the server can't tell two
	// protocols in TCP apart, and what is pushed has no way back.
	hides bool
}

var ways = []way{
	{"as veth has it", func(*site) {}, false},
	{"no offloads on any hop", everyHop((*testnet.Namespace).OffloadsOff), false},
	{"senders sum", func(s *site) { s.ends(false, "tx-checksum-ip-generic") }, false},
	{"senders segment", func(s *site) { s.ends(false, segmentation...) }, false},
	{"receivers don't trust", func(s *site) { s.ends(false, "rx-checksum") }, false},
	{"router sums", func(s *site) { s.ports(false, "tx-checksum-ip-generic") }, false},
	{"router segments", func(s *site) { s.ports(false, segmentation...) }, false},
	{"merged on every hop", everyHop(func(ns *testnet.Namespace, device string) { ns.Offload(device, true, "rx-gro") }), false},
	{"router merges, and segments again", routerForwardsMerged("rx-udp-gro-forwarding", "tx-udp-segmentation"), false},
	{"router chains, and unchains again", routerForwardsMerged("rx-gro-list", "tx-gso-list"), false},
	{"router's frames have a priority", routerGivesPriority, false},
	{"generic XDP on the router", routerXDP(testnet.XDPGeneric), false},
	{"driver XDP on the router", routerXDP(testnet.XDPDriver), false},
	{"router masquerades at random", (*site).masquerade, true},
}

// segmentation are the offloads that leave it to a device, or to the last moment.
var segmentation = []string{"tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-udp-segmentation", "tx-generic-segmentation"}

func everyHop(do func(ns *testnet.Namespace, device string)) func(*site) {
	return func(s *site) {
		do(s.client, "eth0")
		do(s.router, "c0")
		do(s.router, "s0")
		do(s.server, "eth0")
	}
}

// ends sets offloads of client and server, ports those of the router.
func (s *site) ends(on bool, offloads ...string) {
	s.client.Offload("eth0", on, offloads...)
	s.server.Offload("eth0", on, offloads...)
}

func (s *site) ports(on bool, offloads ...string) {
	s.router.Offload("c0", on, offloads...)
	s.router.Offload("s0", on, offloads...)
}

// routerForwardsMerged merges what arrives at the router and takes it apart when
// it leaves, as routers with real devices do. What arrives there are single
// segments with whole checksums.
func routerForwardsMerged(merge, together string) func(*site) {
	return func(s *site) {
		s.ends(false, append(slices.Clone(segmentation), "tx-checksum-ip-generic")...)
		s.ports(true, "rx-gro", merge)
		s.ports(false, together)
	}
}

// routerGivesPriority tags what leaves the router with VLAN 0 and a priority (802.1p).
func routerGivesPriority(s *site) {
	tag, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "priority", Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R2, 0x0081), // ETH_P_8021Q, in network byte order
		asm.Mov.Imm(asm.R3, 3<<13),
		asm.FnSkbVlanPush.Call(),
		asm.Mov.Imm(asm.R0, unspec),
		asm.Return(),
	}})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { tag.Close() })
	s.router.Attach("c0", testnet.Egress, tag)
	s.router.Attach("s0", testnet.Egress, tag)
}

func routerXDP(mode int) func(*site) {
	return func(s *site) {
		s.router.PassXDP("c0", mode)
		s.router.PassXDP("s0", mode)
	}
}

// Every mode has a port of its own in each family.
const (
	matrixEgress = `
		tcp dport { 8080, 8086 } funnel tcp dport 179 inline
		tcp dport { 9090, 9096 } funnel tcp dport 179 sport 540
		udp dport { 4739, 4746 } funnel tcp dport 179 sport 541
		udp dport { 2055, 2056 } funnel udp dport 179 sport 542`
	matrixAnswered = `
		tcp sport 179 dport 540 unfunnel tcp
		tcp sport 179 dport 541 unfunnel udp
		udp sport 179 dport 542 unfunnel udp`
	matrixIngress = `
		tcp dport 1179 sport 540 unfunnel tcp dport { 9090, 9096 }
		tcp dport 1179 sport 541 unfunnel udp dport { 4739, 4746 }
		udp dport 1179 sport 542 unfunnel udp dport { 2055, 2056 }
		tcp dport 1179 unfunnel tcp inline dport { 8080, 8086 }`
	matrixAnswers = `
		tcp sport { 9090, 9096 } funnel tcp dport 540 sport 1179
		udp sport { 4739, 4746 } funnel tcp dport 541 sport 1179
		udp sport { 2055, 2056 } funnel udp dport 542 sport 1179`
	matrixHiddenEgress = `
		tcp dport { 8080, 8086 } funnel tcp dport 179 inline
		udp dport { 4739, 4746 } funnel tcp dport 179 sport 541
		udp dport { 2055, 2056 } funnel udp dport 179 sport 542`
	matrixHidden = `
		tcp dport 1179 pushed unfunnel udp dport { 4739, 4746 }
		udp dport 1179 unfunnel udp dport { 2055, 2056 }
		tcp dport 1179 unfunnel tcp inline dport { 8080, 8086 }`
)

// perFamily has each rule once for each family, so that a rule counts what one lane moves.
func perFamily(text string) string {
	var rules []string
	for line := range strings.Lines(strings.TrimSpace(text)) {
		rules = append(rules, "ip "+strings.TrimSpace(line), "ip6 "+strings.TrimSpace(line))
	}
	return strings.Join(rules, "\n")
}

// lane is one mode in one family.
type lane struct {
	kind string // as kindOf names it
	to   netip.AddrPort
}

var (
	inlineLanes = []lane{
		{"inline, IPv4", netip.AddrPortFrom(serviceAddr, 8080)},
		{"inline, IPv6", netip.AddrPortFrom(service6, 8086)},
	}
	pushedTCPLanes = []lane{
		{"TCP in TCP, IPv4", netip.AddrPortFrom(serviceAddr, 9090)},
		{"TCP in TCP, IPv6", netip.AddrPortFrom(service6, 9096)},
	}
	pushedUDPLanes = []lane{
		{"UDP in TCP, IPv4", netip.AddrPortFrom(serviceAddr, 4739)},
		{"UDP in TCP, IPv6", netip.AddrPortFrom(service6, 4746)},
		{"UDP in UDP, IPv4", netip.AddrPortFrom(serviceAddr, 2055)},
		{"UDP in UDP, IPv6", netip.AddrPortFrom(service6, 2056)},
	}
)

// full says that FUNNEL_FULL=1 asks for a thorough run (make test-matrix). Much more passes
// then than a capture holds.
func full() bool {
	return os.Getenv("FUNNEL_FULL") == "1"
}

// amount is how many octets each lane moves each way.
func amount() int64 {
	if full() {
		return 100 << 20
	}
	return int64(scaled(1 << 20))
}

// TestMatrix moves hashed data both ways at once in every mode and family, for
// every setting of the devices on the way, through a router that turns the
// Service's address into the server's and drops what it takes for invalid. An
// independent parser looks at each packet at the server.
func TestMatrix(t *testing.T) {
	if testing.Short() {
		ways = ways[:1]
	}
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			s := newSite(t)
			w.prepare(s)
			streams, egress, answered := slices.Concat(inlineLanes, pushedTCPLanes), perFamily(matrixEgress), perFamily(matrixAnswered)
			ingress, answers := perFamily(matrixIngress), perFamily(matrixAnswers)
			if w.hides {
				streams, egress, answered = inlineLanes, perFamily(matrixHiddenEgress), ""
				ingress, answers = perFamily(matrixHidden), ""
			}
			client := s.funnel(s.client, "eth0", answered, egress)
			server := s.funnel(s.server, "eth0", ingress, answers)
			s.moveStreams(streams, amount())
			s.moveDatagrams(pushedUDPLanes, amount(), !w.hides)
			s.checkMatrix(slices.Concat(streams, pushedUDPLanes), w.hides)
			s.checkCounted("client, out", client, client.Egress, egress)
			s.checkCounted("client, in", client, client.Ingress, answered)
			s.checkCounted("server, in", server, server.Ingress, ingress)
			s.checkCounted("server, out", server, server.Egress, answers)
		})
	}
}

// checkCounted fails unless each rule of a program met all that its lane moved that way.
func (s *site) checkCounted(where string, p *Programs, program *ebpf.Program, text string) {
	s.Helper()
	counters := mustCount(s, p, program)
	s.Logf("%s: %s", where, printReasons(counters.Reasons))
	for i, rule := range mustCompile(s, text).Rules() {
		if met := counters.Rules[i]; met.Octets < uint64(amount()) {
			s.Errorf("%s: %d packets of %d octets in all met %q", where, met.Packets, met.Octets, rule)
		}
	}
}

// checkMatrix looks at what passed the server's interface, and asks all three
// for packets that they discarded.
func (s *site) checkMatrix(lanes []lane, oneWay bool) {
	s.Helper()
	arrived, left := map[string]int{}, map[string]int{}
	for _, f := range s.arrives.Frames() {
		if !carriesSegment(f.Data) {
			continue
		}
		kind, err := kindOf(f)
		switch {
		case err != nil:
			s.Fatalf("%v\n% x", err, f.Data[:min(len(f.Data), 100)])
		case f.Outgoing:
			left[kind]++
		default:
			arrived[kind]++
		}
	}
	s.Logf("arrived: %v", arrived)
	s.Logf("left: %v", left)
	for _, l := range lanes {
		noWayBack := oneWay && slices.Contains(pushedUDPLanes, l)
		if !full() && (arrived[l.kind] == 0 || (left[l.kind] == 0) != noWayBack) {
			s.Errorf("%s: %d packets arrived, %d left", l.kind, arrived[l.kind], left[l.kind])
		}
	}
	if n := s.invalid(); n != 0 {
		s.Errorf("the router dropped %d packets as invalid", n)
	}
	for _, ns := range []*testnet.Namespace{s.client, s.router, s.server} {
		if n := ns.ChecksumErrors(); n != 0 {
			s.Errorf("%s discarded %d packets because of their checksum", ns.Name, n)
		}
	}
}

// kindOf tells in which mode a packet at the server's interface travels, and
// fails when anything in it is not as that mode has it.
func kindOf(f testnet.Frame) (string, error) {
	parse := wire.Parse
	if f.Partial {
		parse = wire.ParsePartial
	}
	p, err := parse(f.Data[14:])
	if err != nil {
		return "", err
	}
	kind, err := modeOf(p, f)
	if p.Source.Is6() {
		return kind + ", IPv6", err
	}
	return kind + ", IPv4", err
}
