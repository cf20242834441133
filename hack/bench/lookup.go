// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/sfunnel-io/funnel-operator/hack/benchpage"
	"github.com/sfunnel-io/funnel-operator/internal/classifier"
	"github.com/sfunnel-io/funnel-operator/internal/datapath"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// ruleCounts are the sizes of the rule sets for lookup and attach.
var ruleCounts = []int{1, 5, 50, 480, 1000, classifier.MaxRules}

// packets are what a rule set is asked. All rules accept, so that the figure is
// the way through the program without a rewrite.
var packets = []struct {
	name    string
	address func(rules int) netip.Addr
	port    func(rules int) int
}{
	{"last rule", lastAddress, lastPort},
	{"no rule", lastAddress, func(int) int { return firstPort - 1 }},
	{"no rule, port of one", func(int) netip.Addr { return netip.MustParseAddr("192.0.2.1") }, lastPort},
}

// The first two of packets.
const (
	lastRule = iota
	noRule
)

const firstPort = 2000

func lastAddress(rules int) netip.Addr { return ruleAddress(rules - 1) }
func lastPort(rules int) int           { return firstPort + rules - 1 }

func ruleAddress(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
}

// manyRules is a rule set in which no two rules share an address or a port.
func manyRules(count int) string {
	var text strings.Builder
	for i := range count {
		fmt.Fprintf(&text, "ip daddr %s udp dport %d accept\n", ruleAddress(i), firstPort+i)
	}
	return text.String()
}

// lookups are nanoseconds per packet by rule count and by packet, as
// BPF_PROG_TEST_RUN tells them; empty is a program that does nothing.
type lookups struct {
	empty benchpage.Samples
	cost  map[int][]benchpage.Samples
}

const runs = 100_000 // runs in one sample

// measureLookups goes through all programs in every round.
func measureLookups(ctx context.Context, rounds int) (*lookups, error) {
	result := &lookups{cost: map[int][]benchpage.Samples{}}
	empty, err := emptyProgram()
	if err != nil {
		return nil, err
	}
	defer empty.Close()
	programs := map[int]*ebpf.Program{}
	for _, count := range ruleCounts {
		loaded, err := loadRules(count)
		if err != nil {
			return nil, fmt.Errorf("%d rules: %w", count, err)
		}
		defer loaded.Close()
		programs[count] = loaded.Egress
		result.cost[count] = make([]benchpage.Samples, len(packets))
	}
	for range rounds {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		pinned(func() { err = result.round(empty, programs) })
		if err != nil {
			return nil, err
		}
	}
	return result, nil
}

func (l *lookups) round(empty *ebpf.Program, programs map[int]*ebpf.Program) error {
	cost, err := runCost(empty, lastAddress(1), lastPort(1))
	if err != nil {
		return err
	}
	l.empty = append(l.empty, cost)
	for _, count := range ruleCounts {
		for i, packet := range packets {
			cost, err := runCost(programs[count], packet.address(count), packet.port(count))
			if err != nil {
				return err
			}
			l.cost[count][i] = append(l.cost[count][i], cost)
		}
	}
	return nil
}

// runCost returns the nanoseconds of one run on a UDP packet to an address and
// port.
func runCost(program *ebpf.Program, to netip.Addr, port int) (float64, error) {
	_, took, err := program.Benchmark(udpFrame(to, port), runs, nil)
	return float64(took.Nanoseconds()), err
}

// udpFrame is an Ethernet frame with a UDP packet of 64 octets of payload. Its
// UDP checksum is 0: none.
func udpFrame(to netip.Addr, port int) []byte {
	const payload = 64
	frame := make([]byte, 14+20+8+payload)
	binary.BigEndian.PutUint16(frame[12:], 0x0800)
	ip := frame[14:]
	copy(ip, []byte{0x45, 0, 0, 20 + 8 + payload, 0, 0, 0, 0, 64, 17})
	copy(ip[12:], netip.MustParseAddr(clientAddress).AsSlice())
	copy(ip[16:], to.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], headerChecksum(ip[:20]))
	binary.BigEndian.PutUint16(ip[20:], 40000)
	binary.BigEndian.PutUint16(ip[22:], uint16(port))
	binary.BigEndian.PutUint16(ip[24:], 8+payload)
	return frame
}

func headerChecksum(header []byte) uint16 {
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func emptyProgram() (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "empty", Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
}

func loadRules(count int) (*datapath.Programs, error) {
	parsed, err := rules.Parse(manyRules(count))
	if err != nil {
		return nil, err
	}
	table, err := classifier.Compile(parsed)
	if err != nil {
		return nil, err
	}
	return datapath.Load(datapath.Config{
		Egress:    table,
		Interface: datapath.Interface{Index: 1, MTU: mtu, Ethernet: true},
	})
}
