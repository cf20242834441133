// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/bpf"
)

// FlowList is what flow tables hold.
type FlowList struct {
	// Funneled, Unfunneled, Direct and HalfOpen count flows: funneled here,
	// unfunneled here, direct ones to a through port that are kept apart, and
	// unfunneled ones that are not known yet to be real. Replies counts flows of
	// rules with reply, whose answers are in kind; they are not described.
	Funneled, Unfunneled, Direct, HalfOpen, Replies int
	// Flows are some of them.
	Flows []Flow
}

// Flow is an inline flow as its client sees it.
type Flow struct {
	Role                string // funneled, unfunneled, direct or half_open
	Client, Server      netip.AddrPort
	Through, SourcePort uint16 // what travels: the destination and the source port
	State               string
	Idle                time.Duration
}

// The kinds and states of bpf/flow.h.
const (
	flowForward = 0
	flowBackend = 2

	flowAnswered = 0x01
	flowFins     = 0x02 | 0x04
	flowReset    = 0x08
	flowEarly    = 0x40
	tickShift    = 27
)

// List counts all flows and describes at most limit of them. Flows come and go
// meanwhile, and one may be missed or met twice.
func (t *FlowTables) List(limit int) (FlowList, error) {
	var l FlowList
	now, err := monotonic()
	if err != nil {
		return l, err
	}
	for _, name := range []string{bpf.EgressMapFlows, bpf.EgressMapHalfOpen} {
		var key flowKey
		var entry flowEntry
		entries := t.maps[name].Iterate()
		for entries.Next(&key, &entry) {
			role := l.count(name, entry)
			if role != "" && len(l.Flows) < limit {
				l.Flows = append(l.Flows, describeFlow(role, key, entry, now))
			}
		}
		if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
			return l, err
		}
	}
	l.Replies, err = countEntries(t.maps[bpf.EgressMapPushedFlows])
	return l, err
}

func countEntries(m *ebpf.Map) (n int, err error) {
	var key flowKey
	var value pushedEntry
	entries := m.Iterate()
	for entries.Next(&key, &value) {
		n++
	}
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return n, err
	}
	return n, nil
}

// count counts an entry if it stands for a flow, and returns the flow's role.
func (l *FlowList) count(table string, entry flowEntry) string {
	switch {
	case entry.Kind == flowForward && entry.Urgent == [2]byte{}:
		l.Direct++
		return "direct"
	case entry.Kind == flowForward:
		l.Funneled++
		return "funneled"
	case entry.Kind == flowBackend && (table == bpf.EgressMapHalfOpen || entry.State&flowEarly != 0):
		l.HalfOpen++
		return "half_open"
	case entry.Kind == flowBackend:
		l.Unfunneled++
		return "unfunneled"
	}
	return ""
}

func describeFlow(role string, key flowKey, entry flowEntry, now uint64) Flow {
	source, destination := addrPort(key.Family, key.Source, key.SourcePort), addrPort(key.Family, key.Destination, key.DestinationPort)
	f := Flow{
		Role: role, Client: source, Server: destination, State: stateWords(entry.State), Idle: entry.idle(now),
		Through: binary.BigEndian.Uint16(entry.DestinationPort[:]), SourcePort: binary.BigEndian.Uint16(entry.SourcePort[:]),
	}
	if entry.Kind == flowBackend { // the entry is for answers
		f.Client, f.Server = f.Server, f.Client
		f.Through, f.SourcePort = f.SourcePort, f.Through
	}
	return f
}

// idle is for how long there was no packet in the entry's direction.
func (e flowEntry) idle(now uint64) time.Duration {
	return time.Duration(max(0, int32(uint32(now>>tickShift)-e.Tick))) << tickShift
}

// over reports whether the flow is: flow_expired of bpf/flow.h, when nothing presses.
func (e flowEntry) over(now uint64) bool {
	lifetime := 130 * time.Second
	switch {
	case e.State&flowReset != 0:
		lifetime = 2 << tickShift
	case e.State&flowFins == flowFins:
		lifetime = 60 * time.Second
	case e.State&flowFins != 0:
		lifetime = 300 * time.Second
	case e.State&flowAnswered != 0:
		lifetime = 3 * time.Hour
	}
	return e.idle(now) > lifetime
}

// addrPort reads an address of struct flow_key: IPv4 stands in its first 4 bytes.
func addrPort(family uint8, address [16]byte, port [2]byte) netip.AddrPort {
	a := netip.AddrFrom16(address)
	if family != 6 {
		a = netip.AddrFrom4([4]byte(address[:4]))
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port[:]))
}

func stateWords(state uint8) string {
	switch {
	case state&flowReset != 0:
		return "reset"
	case state&flowFins == flowFins:
		return "closed"
	case state&flowFins != 0:
		return "closing"
	case state&flowAnswered != 0:
		return "open"
	}
	return "opening"
}

// monotonic is the programs' clock in ns.
func monotonic() (uint64, error) {
	var now unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &now)
	return uint64(now.Nano()), err
}
