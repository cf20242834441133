// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/testnet"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// gso makes a run's packet one that is to be segmented later.
func gso(size uint32) func(*ebpf.RunOptions) {
	return context(func(c *skBuff) { c.GSOSize, c.GSOSegs = size, 2 })
}

func from(ifindex uint32) func(*ebpf.RunOptions) {
	return context(func(c *skBuff) { c.IngressIfindex = ifindex })
}

// verdictOf is what a test expects of one run.
type verdictOf struct {
	reason  Reason
	verdict int
}

var (
	passes  = func(r Reason) verdictOf { return verdictOf{r, unspec} }
	drops   = func(r Reason) verdictOf { return verdictOf{r, shot} }
	divert  = func(r Reason) verdictOf { return verdictOf{r, redirect} }
	tcpData = makePair(wire.TCP, wire.TCP, 33, nil)
	udpData = makePair(wire.UDP, wire.TCP, 32, nil)
	udpUDP  = makePair(wire.UDP, wire.UDP, 32, nil)
)

// realTCP is an ordinary segment to the through port.
func realTCP(sport uint16, flags byte, options []byte) []byte {
	s := wire.Segment{Protocol: wire.TCP, Source: sport, Dest: 179, Seq: 1, Flags: flags, Window: 1024, Options: options, Payload: payload(40)}
	return frame(header(wire.TCP), s.Bytes(client, server))
}

func TestIngressDecides(t *testing.T) {
	cases := []struct {
		name, rules string
		frame       []byte
		want        verdictOf
		options     []func(*ebpf.RunOptions)
	}{
		{"no rule", "", udpData.plain, passes(NoMatch), nil},
		{"other port", "udp dport 4740 drop", udpData.plain, passes(NoMatch), nil},
		{"accept", "udp dport 4739 accept; udp drop", udpData.plain, passes(Accepted), nil},
		{"drop", "udp dport 4739 drop", udpData.plain, drops(Dropped), nil},
		{"unfunnel", popRule(wire.UDP), udpData.pushed, passes(Unfunneled), nil},
		{"unfunnel pushed from any port", "tcp dport 179 pushed unfunnel udp", udpData.pushed, passes(Unfunneled), nil},
		{"ordinary traffic on the through port", "tcp dport 179 pushed unfunnel udp", realTCP(540, wire.SYN, nil), passes(NoMatch), nil},
		{"source port of ordinary traffic", popRule(wire.UDP), realTCP(40000, wire.ACK, nil), passes(NoMatch), nil},
		{"outer header with options", popRule(wire.UDP), realTCP(540, wire.SYN, payload(4)), drops(NotPushed), nil},
		{"allowed inner port", "tcp dport 179 sport 540 unfunnel udp dport { 2055, 4739 }", udpData.pushed, passes(Unfunneled), nil},
		{"other inner port", "tcp dport 179 sport 540 unfunnel udp dport { 2055, 4738, 4740-4799 }", udpData.pushed, drops(InnerPort), nil},
		{"inner UDP length differs", popRule(wire.UDP), edit(udpData.pushed, 20+20+4, 0, 41), drops(InnerLength), nil},
		{"inner TCP header too small", popRule(wire.TCP), edit(tcpData.pushed, 20+20+12, 0x40), drops(InnerLength), nil},
		{"inner TCP header too large", popRule(wire.TCP), edit(tcpData.pushed, 20+20+12, 0xf0), drops(InnerLength), nil},
		{"merged through UDP", popRule(wire.UDP), udpUDP.pushed, drops(Merged), []func(*ebpf.RunOptions){gso(60)}},
		{"merged through TCP", popRule(wire.UDP), udpData.pushed, drops(Merged), []func(*ebpf.RunOptions){gso(60)}},
		{"merged, other rule", "udp drop", udpData.pushed, passes(NoMatch), []func(*ebpf.RunOptions){gso(60)}},
		{"funnel what arrives", pushRule(wire.TCP), udpData.plain, passes(Funneled), nil},
		{"funnel what arrives merged", pushRule(wire.TCP), tcpData.plain, drops(NoSegment), []func(*ebpf.RunOptions){gso(60)}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			programs := mustLoad(t, c.rules, "", ethernet)
			reason, verdict, _ := reasonOf(t, programs, programs.Ingress, c.frame, c.options...)
			if got := (verdictOf{reason, verdict}); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestMagicIsExact changes each octet of the outer header that is part of the
// magic; ports and checksum are not.
func TestMagicIsExact(t *testing.T) {
	programs := mustLoad(t, "tcp dport 179 pushed drop", "", ethernet)
	for i := 4; i < 20; i++ {
		changed := edit(udpData.pushed, 20+i, udpData.pushed[14+20+i]^1)
		want := passes(NoMatch)
		if i == 16 || i == 17 {
			want = drops(Dropped)
		}
		reason, verdict, _ := reasonOf(t, programs, programs.Ingress, changed)
		if got := (verdictOf{reason, verdict}); got != want {
			t.Errorf("octet %d changed: got %v, want %v", i, got, want)
		}
	}
}

func TestEgressDecides(t *testing.T) {
	pushed := passes(Funneled)
	if !pushesDirectly() {
		pushed = divert(ToSegment)
	}
	own := "tcp funnel tcp dport 179 sport 540" // matches its own outer header
	cases := []struct {
		name, rules     string
		frame           []byte
		egress, segment verdictOf
		options         []func(*ebpf.RunOptions)
	}{
		{"whole UDP", pushRule(wire.TCP), udpData.plain, pushed, divert(Funneled), nil},
		{"whole UDP through UDP", pushRule(wire.UDP), udpData.plain, pushed, divert(Funneled), nil},
		{"GSO", pushRule(wire.TCP), tcpData.plain, divert(ToSegment), verdictOf{}, []func(*ebpf.RunOptions){gso(1000)}},
		{"GSO through UDP", pushRule(wire.UDP), udpData.plain, divert(ToSegment), verdictOf{}, []func(*ebpf.RunOptions){gso(1000)}},
		{"from elsewhere", own, tcpData.pushed, pushed, divert(Funneled), []func(*ebpf.RunOptions){from(7)}},
		{"no rule", "udp dport 1 " + own[4:], udpData.plain, passes(NoMatch), divert(PassedSegment), nil},
		{"accept", "udp dport 4739 accept; udp funnel tcp dport 179 sport 540", udpData.plain, passes(Accepted), divert(Accepted), nil},
		{"drop", "udp dport 4739 drop; udp funnel tcp dport 179 sport 540", udpData.plain, drops(Dropped), drops(Dropped), nil},
		{"unfunnel", popRule(wire.UDP) + ";" + pushRule(wire.TCP), udpData.pushed, passes(Unfunneled), divert(Unfunneled), nil},
		{"what nobody sent to the device", own, wire.Ethernet(0x0806, payload(28)), passes(NotIP), drops(Stray), nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			programs := mustLoad(t, "", c.rules, ethernet)
			reason, verdict, _ := reasonOf(t, programs, programs.Egress, c.frame, c.options...)
			if got := (verdictOf{reason, verdict}); got != c.egress {
				t.Errorf("egress got %v, want %v", got, c.egress)
			}
			if c.segment == (verdictOf{}) {
				return
			}
			reason, verdict, _ = reasonOf(t, programs, segmenting{programs.Segment}, c.frame, c.options...)
			if got := (verdictOf{reason, verdict}); got != c.segment {
				t.Errorf("segment got %v, want %v", got, c.segment)
			}
		})
	}
}

// What comes back from the device leaves as it is, also if rules match it.
func TestEgressLeavesAloneWhatItSegmented(t *testing.T) {
	device := ethernet
	device.SegmentB = 1001
	programs := mustLoad(t, "", "tcp funnel tcp dport 179 sport 540", device)
	reason, verdict, _ := reasonOf(t, programs, programs.Egress, tcpData.pushed, from(1001))
	if got := (verdictOf{reason, verdict}); got != passes(FromSegment) {
		t.Errorf("got %v, want %v", got, passes(FromSegment))
	}
}

func TestFlowStaysOnTheSegmentingDevice(t *testing.T) {
	if !pushesDirectly() {
		t.Skip("on this kernel all flows are on it")
	}
	programs := mustLoad(t, "", pushRule(wire.TCP), ethernet)
	other := frame(header(wire.UDP), wire.Segment{Protocol: wire.UDP, Source: 40001, Dest: 4739, Payload: payload(9)}.Bytes(client, server))
	for _, step := range []struct {
		frame   []byte
		options []func(*ebpf.RunOptions)
		want    Reason
	}{
		{udpData.plain, nil, Funneled},
		{udpData.plain, []func(*ebpf.RunOptions){gso(16)}, ToSegment},
		{udpData.plain, nil, ToSegment},
		{other, nil, Funneled},
		{udpData.plain, nil, ToSegment},
	} {
		if reason, _, _ := reasonOf(t, programs, programs.Egress, step.frame, step.options...); reason != step.want {
			t.Errorf("counted %v, want %v", reason, step.want)
		}
	}
}

func TestFunnelThenUnfunnelIsIdentity(t *testing.T) {
	for _, outer := range []byte{wire.TCP, wire.UDP} {
		for _, inner := range []byte{wire.TCP, wire.UDP} {
			programs := mustLoad(t, popRule(inner), pushRule(outer), ethernet)
			for n := range scaled(300) {
				s := segment(inner, n)
				s.Source = uint16(1024 + n*37)
				plain := frame(header(inner), s.Bytes(client, server))
				_, pushed := runOn(t, pusher(programs), plain)
				_, popped := runOn(t, programs.Ingress, pushed)
				sameFrame(t, popped, plain)
			}
		}
	}
}

// TestNATOnTheWay changes addresses between push and pop as NAT does: addresses
// and outer checksum only.
func TestNATOnTheWay(t *testing.T) {
	from, to := netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("198.51.100.3")
	for _, outer := range []byte{wire.TCP, wire.UDP} {
		for _, inner := range []byte{wire.TCP, wire.UDP} {
			programs := mustLoad(t, popRule(inner), "", ethernet)
			for n := range scaled(100) {
				h, want := header(outer), header(inner)
				h.Source, h.Dest, want.Source, want.Dest = from, to, from, to
				s := segment(inner, n)
				natted := frame(h, wire.Pushed(outer, 540, 179, s, from, to))
				_, popped := runOn(t, programs.Ingress, natted)
				sameFrame(t, popped, frame(want, s.Bytes(from, to)))
			}
		}
	}
}

// TestUDPChecksumThatComesOutAsZero tries one payload word after the other, so
// that some checksums are 0 before they are written as 0xffff: of the
// datagram, and of what travels.
func TestUDPChecksumThatComesOutAsZero(t *testing.T) {
	programs := mustLoad(t, popRule(wire.UDP), pushRule(wire.TCP), ethernet)
	datagrams, travelling := 0, 0
	for word := range 0x10000 {
		s := wire.Segment{Protocol: wire.UDP, Source: 40000, Dest: 4739, Payload: []byte{byte(word >> 8), byte(word), 3}}
		plain := s.Bytes(client, server)
		pushed := wire.Pushed(wire.TCP, 540, 179, s, client, server)
		if plain[6]&plain[7] != 0xff && pushed[26]&pushed[27] != 0xff {
			continue
		}
		_, got := runOn(t, pusher(programs), frame(header(wire.UDP), plain))
		sameFrame(t, got, frame(header(wire.TCP), pushed))
		_, got = runOn(t, programs.Ingress, got, csumComplete)
		sameFrame(t, got, frame(header(wire.UDP), plain))
		s.NoChecksum = true
		_, got = runOn(t, pusher(programs), frame(header(wire.UDP), s.Bytes(client, server)))
		sameFrame(t, got, frame(header(wire.TCP), pushed))
		if plain[6]&plain[7] == 0xff {
			datagrams++
		} else {
			travelling++
		}
	}
	if datagrams == 0 || travelling == 0 {
		t.Errorf("tried %d and %d", datagrams, travelling)
	}
}

// TestDatagramThatNeverHadAChecksum: a peer takes addresses out of a checksum
// field of 0 as if it were one. What arrives must have none again, or the
// socket would not take it.
func TestDatagramThatNeverHadAChecksum(t *testing.T) {
	programs := mustLoad(t, popRule(wire.UDP), "", ethernet)
	for n := range 64 {
		s := wire.Segment{Protocol: wire.UDP, Source: 40000, Dest: 4739, Payload: payload(n), NoChecksum: true}
		plain := s.Bytes(client, server)
		inner := slices.Clone(plain)
		binary.BigEndian.PutUint16(inner[6:], wire.Sum(client, server, 0, nil))
		outer := wire.Segment{
			Protocol: wire.TCP, Source: 540, Dest: 179, Payload: inner,
			Seq: 0xcafebabe, Ack: 0xbabecafe, Flags: wire.SYN, Window: 1024,
		}
		_, got := runOn(t, programs.Ingress, frame(header(wire.TCP), outer.Bytes(client, server)), csumComplete)
		sameFrame(t, got, frame(header(wire.UDP), plain))
	}
}

func TestSourcePortMovesWithTime(t *testing.T) {
	for _, c := range []struct {
		ports   string
		slot    uint32 // in units of 2^10 ns
		atLeast int
	}{
		{"540", 1, 1},
		{"540-547", 1, 8},
		{"540-547", 1 << 31, 1},
		{"1-65535", 1, 100},
	} {
		seen := map[uint16]bool{}
		program := loadWithSlots(t, c.ports, c.slot)
		for range 2000 {
			_, got := runOn(t, program, udpData.plain)
			seen[binary.BigEndian.Uint16(got[34:])] = true
			if _, err := wire.Parse(got[14:]); err != nil {
				t.Fatal(err)
			}
		}
		var first, last uint16 = 540, 540
		fmt.Sscanf(c.ports, "%d-%d", &first, &last)
		for port := range seen {
			if port < first || port > max(first, last) {
				t.Errorf("sport %s gave %d", c.ports, port)
			}
		}
		if len(seen) < c.atLeast || (c.atLeast == 1 && len(seen) > 1) {
			t.Errorf("sport %s with slots of %d: %d ports in 2000 packets", c.ports, c.slot, len(seen))
		}
	}
}

// loadWithSlots loads the egress program with another length of time slots.
func loadWithSlots(t *testing.T, ports string, slot uint32) program {
	t.Helper()
	testnet.RequireRoot(t)
	table := mustCompile(t, "udp dport 4739 funnel tcp dport 179 sport "+ports)
	o, err := objectFor(rules.Egress, table, ethernet, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.set(bpf.EgressVarSourcePortSlot, slot); err != nil {
		t.Fatal(err)
	}
	l, err := o.load(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	if err := fill(l.maps, table); err != nil {
		t.Fatal(err)
	}
	return pusher(&Programs{Egress: l.program, Segment: l.program})
}

func TestRulesCountPacketsAndOctets(t *testing.T) {
	programs := mustLoad(t, "", "udp dport 1 drop; udp dport 4739 funnel tcp dport 179 sport 540; tcp accept", ethernet)
	for range 3 {
		runOn(t, pusher(programs), udpData.plain)
	}
	runOn(t, pusher(programs), tcpData.plain)
	runOn(t, segmenting{programs.Segment}, udpData.plain)
	runOn(t, programs.Egress, udpData.plain, gso(16)) // counts when its segments come out
	want := []RuleCounter{{}, {4, 4 * uint64(len(udpData.plain)-14)}, {1, uint64(len(tcpData.plain) - 14)}}
	if got := mustCount(t, programs, programs.Egress).Rules; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := mustCount(t, programs, segmenting{programs.Segment}).Rules; !slices.Equal(got, want) {
		t.Errorf("segment: got %v, want %v", got, want)
	}
	info, err := programs.Egress.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	attached, err := AttachedCounters(id)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(attached.Rules, want) {
		t.Errorf("by id: got %v, want %v", attached.Rules, want)
	}
}
