// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// programCost is what TCP makes the programs of both ends do, by the kernel's own
// statistics, and what the packets are like.
type programCost struct {
	mode string
	way  direction
	took time.Duration
	done float64 // octets, or connections
	data device  // of the sender: packets sent are data, received are answers
	ends [2]hooks
}

// device is what passed an interface; a packet here is what the stack hands over
// at once, up to 64 KB.
type device struct{ sent, sentOctets, received, receivedOctets uint64 }

// hooks are the programs of one end; what is not there did nothing.
type hooks struct{ ingress, egress ebpf.ProgramStats }

// measurePrograms lets one stream run each way, and then connections, through each TCP mode
// of interest. Statistics cost time too, so the rates are no results.
func measurePrograms(ctx context.Context, d time.Duration) (streams, calls []programCost, err error) {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return nil, nil, fmt.Errorf("program statistics: %w", err)
	}
	defer stats.Close()
	for _, name := range []string{native, "four empty programs", "attached, no match", inline} {
		for _, way := range []direction{upload, download} {
			cost, err := programsOf(ctx, modeNamed(name), way, bulk(1, way), d)
			if err != nil {
				return nil, nil, err
			}
			streams = append(streams, cost)
		}
		cost, err := programsOf(ctx, modeNamed(name), upload, connections(), d)
		if err != nil {
			return nil, nil, err
		}
		calls = append(calls, cost)
	}
	return streams, calls, nil
}

func programsOf(ctx context.Context, m mode, way direction, take measure, d time.Duration) (cost programCost, err error) {
	cost = programCost{mode: m.name, way: way}
	if ctx.Err() != nil {
		return cost, ctx.Err()
	}
	l, err := openLab(m, false)
	if err != nil {
		return cost, err
	}
	defer l.close()
	before, err := cost.read(l)
	if err != nil {
		return cost, err
	}
	begin := time.Now()
	rate, err := take(l, d)
	if err != nil {
		return cost, err
	}
	cost.took = time.Since(begin)
	cost.done = rate * cost.took.Seconds()
	after, err := cost.read(l)
	if err != nil {
		return cost, err
	}
	cost.data = after.data.minus(before.data)
	for i := range cost.ends {
		cost.ends[i] = hooks{
			ingress: since(after.ends[i].ingress, before.ends[i].ingress),
			egress:  since(after.ends[i].egress, before.ends[i].egress),
		}
	}
	return cost, nil
}

func since(after, before ebpf.ProgramStats) ebpf.ProgramStats {
	return ebpf.ProgramStats{Runtime: after.Runtime - before.Runtime, RunCount: after.RunCount - before.RunCount}
}

func (d device) minus(before device) device {
	return device{
		d.sent - before.sent, d.sentOctets - before.sentOctets,
		d.received - before.received, d.receivedOctets - before.receivedOctets,
	}
}

// read returns the counters as they stand.
func (c programCost) read(l *lab) (now programCost, err error) {
	for i, namespace := range []string{l.client, l.server} {
		err := inNamespace(namespace, func() error {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			if s := link.Attrs().Statistics; (i == 0) == bool(c.way) {
				now.data = device{s.TxPackets, s.TxBytes, s.RxPackets, s.RxBytes}
			}
			if now.ends[i].ingress, err = hookStats(link, ebpf.AttachTCXIngress, netlink.HANDLE_MIN_INGRESS); err != nil {
				return err
			}
			now.ends[i].egress, err = hookStats(link, ebpf.AttachTCXEgress, netlink.HANDLE_MIN_EGRESS)
			return err
		})
		if err != nil {
			return now, err
		}
	}
	return now, nil
}

// hookStats returns the statistics of the first program of a hook.
func hookStats(l netlink.Link, at ebpf.AttachType, parent uint32) (ebpf.ProgramStats, error) {
	id, err := hookProgram(l, at, parent)
	if id == 0 || err != nil {
		return ebpf.ProgramStats{}, err
	}
	program, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return ebpf.ProgramStats{}, err
	}
	defer program.Close()
	stats, err := program.Stats()
	if err != nil {
		return ebpf.ProgramStats{}, err
	}
	return *stats, nil
}

// hookProgram is 0 when there is none.
func hookProgram(l netlink.Link, at ebpf.AttachType, parent uint32) (ebpf.ProgramID, error) {
	if hasTCX() {
		found, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: at})
		if err == nil && len(found.Programs) > 0 {
			return found.Programs[0].ID, nil
		}
	}
	filters, err := netlink.FilterList(l, parent)
	for _, f := range filters {
		if f, ok := f.(*netlink.BpfFilter); ok {
			return ebpf.ProgramID(f.Id), nil
		}
	}
	return 0, err
}

// ran is how long all programs ran.
func (c programCost) ran() (sum time.Duration) {
	for _, e := range c.ends {
		sum += e.ingress.Runtime + e.egress.Runtime
	}
	return sum
}

const streamProgramsIntro = `
## What the programs do

By the kernel's statistics of programs, which cost about as much as an empty program and are included. A packet is what
the stack hands over at once. Columns of the programs: nanoseconds a run. For one TCP stream:

| mode | direction | octets a data packet | answers a data packet | client egress | client ingress | server egress | server ingress | time in programs |
|---|---|---:|---:|---:|---:|---:|---:|---:|
`

func streamPrograms(text *strings.Builder, all []programCost) {
	text.WriteString(streamProgramsIntro)
	for _, c := range all {
		way := "down"
		if c.way == upload {
			way = "up"
		}
		fmt.Fprintf(text, "| %s | %s | %.0f | %.2f |", c.mode, way,
			float64(c.data.sentOctets)/float64(c.data.sent), float64(c.data.received)/float64(c.data.sent))
		for _, e := range c.ends {
			fmt.Fprintf(text, " %s | %s |", perRun(e.egress), perRun(e.ingress))
		}
		fmt.Fprintf(text, " %.2f %% |\n", 100*c.ran().Seconds()/c.took.Seconds())
	}
}

const callProgramsIntro = `
For TCP connections, one after the other:

| mode | packets a connection | client egress | client ingress | server egress | server ingress | in programs, a connection |
|---|---:|---:|---:|---:|---:|---:|
`

func callPrograms(text *strings.Builder, all []programCost) {
	text.WriteString(callProgramsIntro)
	for _, c := range all {
		fmt.Fprintf(text, "| %s | %.1f |", c.mode, float64(c.data.sent+c.data.received)/c.done)
		for _, e := range c.ends {
			fmt.Fprintf(text, " %s | %s |", perRun(e.egress), perRun(e.ingress))
		}
		fmt.Fprintf(text, " %.1f us |\n", float64(c.ran().Nanoseconds())/1e3/c.done)
	}
}

func perRun(s ebpf.ProgramStats) string {
	if s.RunCount == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f", float64(s.Runtime.Nanoseconds())/float64(s.RunCount))
}
