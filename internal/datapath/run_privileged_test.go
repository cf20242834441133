// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/classifier"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/testnet"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// TC verdicts, linux/pkt_cls.h.
const (
	unspec   = -1
	shot     = 2
	redirect = 7
)

const loopback = 1 // its MTU of 65536 fits every packet

var (
	client = netip.MustParseAddr("10.77.1.2")
	server = netip.MustParseAddr("172.30.201.9")

	client6 = netip.MustParseAddr("fd77:1::2:8000")
	server6 = netip.MustParseAddr("2001:db8:ffff:fe00::9")
)

func mustCompile(t testing.TB, text string) *classifier.Table {
	t.Helper()
	rs, err := rules.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	table, err := classifier.Compile(rs)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// ethernet is an interface for program runs, which are on the loopback interface.
// That is end B of the segmenting device as well; end A does not exist. Packets are
// never really sent there.
var ethernet = Interface{Index: loopback, Ethernet: true, SegmentA: 1000, SegmentB: loopback}

func mustLoad(t testing.TB, ingress, egress string, i Interface) *Programs {
	t.Helper()
	testnet.RequireRoot(t)
	programs, err := Load(Config{Ingress: mustCompile(t, ingress), Egress: mustCompile(t, egress), Interface: i})
	if err != nil {
		var v *ebpf.VerifierError
		if errors.As(err, &v) {
			t.Fatalf("%+v", v)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { programs.Close() })
	return programs
}

// program is a program as one of its hooks runs it.
type program interface {
	Run(*ebpf.RunOptions) (uint32, error)
}

// segmenting is the egress program on the hook of the segmenting device.
type segmenting struct{ *ebpf.Program }

// Run tells the program that the packet arrives on the device.
func (s segmenting) Run(o *ebpf.RunOptions) (uint32, error) {
	from(loopback)(o)
	return s.Program.Run(o)
}

// runOn runs a program on a frame and returns its verdict and the frame after.
func runOn(t testing.TB, program program, frame []byte, options ...func(*ebpf.RunOptions)) (int, []byte) {
	t.Helper()
	o := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
	for _, option := range options {
		option(o)
	}
	verdict, err := program.Run(o)
	if err != nil {
		t.Fatalf("run on %d octets: %v\n%s", len(frame), err, hex.Dump(frame[:min(len(frame), 112)]))
	}
	return int(int32(verdict)), o.DataOut
}

// csumComplete runs on a packet as a network card delivers it that sums
// packets (CHECKSUM_COMPLETE). The run fails with EBADMSG when the sum is not
// that of the packet afterwards. Value: BPF_F_TEST_SKB_CHECKSUM_COMPLETE.
func csumComplete(o *ebpf.RunOptions) { o.Flags |= 1 << 2 }

// context sets fields of struct __sk_buff.
func context(set func(*skBuff)) func(*ebpf.RunOptions) {
	return func(o *ebpf.RunOptions) {
		ctx := &skBuff{}
		set(ctx)
		o.Context = ctx
	}
}

// skBuff is the beginning of struct __sk_buff, linux/bpf.h, up to hwtstamp.
type skBuff struct {
	Len, PktType, Mark, QueueMapping, Protocol, VLANPresent, VLANTCI, VLANProto, Priority uint32
	IngressIfindex, Ifindex, TCIndex                                                      uint32
	CB                                                                                    [5]uint32
	Hash, TCClassID, Data, DataEnd, NAPIID, Family, RemoteIP4, LocalIP4                   uint32
	RemoteIP6, LocalIP6                                                                   [4]uint32
	RemotePort, LocalPort, DataMeta                                                       uint32
	FlowKeys, Tstamp                                                                      uint64
	WireLen, GSOSegs                                                                      uint32
	SK                                                                                    uint64
	GSOSize                                                                               uint32
	TstampType                                                                            uint8
	_                                                                                     [3]uint8
	HWTstamp                                                                              uint64
}

// pushesDirectly reports whether the kernel shows programs the state of a
// checksum (since Linux 6.2). On others the egress program sends everything
// that it funnels through the segmenting device.
var pushesDirectly = sync.OnceValue(func() bool {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return false
	}
	var function *btf.Func
	return kernel.TypeByName("bpf_cast_to_kern_ctx", &function) == nil
})

// pusher is the program that pushes headers on what leaves.
func pusher(p *Programs) program {
	if pushesDirectly() {
		return p.Egress
	}
	return segmenting{p.Segment}
}

// reasonOf runs a program and returns the one reason that it counted, besides
// verdict and frame.
func reasonOf(t testing.TB, p *Programs, program program, frame []byte, options ...func(*ebpf.RunOptions)) (Reason, int, []byte) {
	t.Helper()
	before := mustCount(t, p, program)
	verdict, out := runOn(t, program, frame, options...)
	var found []Reason
	for reason, packets := range mustCount(t, p, program).Reasons {
		for range packets - before.Reasons[reason] {
			found = append(found, reason)
		}
	}
	if len(found) != 1 {
		t.Fatalf("counted %v, want one reason", found)
	}
	return found[0], verdict, out
}

func mustCount(t testing.TB, p *Programs, program program) Counters {
	t.Helper()
	if s, ok := program.(segmenting); ok {
		program = s.Program
	}
	for _, l := range []*loaded{p.ingress, p.egress} {
		if l == nil || l.program != program {
			continue
		}
		counters, err := readCounters(l.maps[bpf.EgressMapCounters], int(reasonCount))
		if err != nil {
			t.Fatal(err)
		}
		return counters
	}
	t.Fatal("not one of these programs")
	return Counters{}
}

func sameFrame(t testing.TB, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("got %d octets\n%swant %d\n%s", len(got), hex.Dump(got[:min(len(got), 112)]), len(want), hex.Dump(want[:min(len(want), 112)]))
	}
}

// frame puts IP and Ethernet headers in front of a segment.
func frame(h wire.Header, segment []byte) []byte {
	packet := h.Packet(segment)
	if packet[0]>>4 == 6 {
		return wire.Ethernet(wire.EtherTypeIPv6, packet)
	}
	return wire.Ethernet(wire.EtherTypeIPv4, packet)
}

func header(protocol byte) wire.IPv4 {
	return wire.IPv4{Protocol: protocol, Source: client, Dest: server, ID: 4711, Fragment: wire.DF}
}

func header6(protocol byte) wire.IPv6 {
	return wire.IPv6{NextHdr: protocol, Source: client6, Dest: server6, FlowLabel: 0xabcde}
}
