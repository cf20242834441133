// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/bpf"
)

// Counters are what a direction's programs counted since they were loaded,
// summed over all CPUs. A segment program shares those of its egress program.
type Counters struct {
	// Rules has one entry per rule, in the order of the rule set.
	Rules []RuleCounter
	// Reasons says what became of packets; a packet counts in each program that
	// it passed. Reasons that did not occur are missing.
	Reasons map[Reason]uint64
}

// RuleCounter counts packets on which a rule's action was carried out,
// successfully or not, and the octets of their IP packets as they came. A GSO
// packet counts as one; a packet that goes through the segmenting device
// counts there, in segments.
type RuleCounter struct {
	Packets, Octets uint64
}

// AttachedCounters reads the counters of a program that is attached somewhere,
// given its id. It needs CAP_SYS_ADMIN, as the kernel demands for taking up
// what another process loaded.
func AttachedCounters(id ebpf.ProgramID) (Counters, error) {
	maps := map[string]*ebpf.Map{}
	defer func() {
		for _, m := range maps {
			m.Close()
		}
	}()
	err := eachMap(id, func(name string, m *ebpf.Map) (err error) {
		if name == bpf.EgressMapRuleCounts || name == bpf.EgressMapReasons {
			maps[name], err = m.Clone()
		}
		return err
	})
	if err != nil {
		return Counters{}, err
	}
	ruleCounts, reasons := maps[bpf.EgressMapRuleCounts], maps[bpf.EgressMapReasons]
	if ruleCounts == nil || reasons == nil {
		return Counters{}, fmt.Errorf("program %d has no counters of this version", id)
	}
	return readCounters(ruleCounts, reasons)
}

func readCounters(ruleCounts, reasons *ebpf.Map) (Counters, error) {
	c := Counters{
		Rules:   make([]RuleCounter, ruleCounts.MaxEntries()),
		Reasons: map[Reason]uint64{},
	}
	for i := range c.Rules {
		var perCPU []RuleCounter
		if err := ruleCounts.Lookup(uint32(i), &perCPU); err != nil {
			return Counters{}, fmt.Errorf("read %s: %w", bpf.EgressMapRuleCounts, err)
		}
		for _, cpu := range perCPU {
			c.Rules[i].Packets += cpu.Packets
			c.Rules[i].Octets += cpu.Octets
		}
	}
	for r := range reasons.MaxEntries() {
		var perCPU []uint64
		if err := reasons.Lookup(r, &perCPU); err != nil {
			return Counters{}, fmt.Errorf("read %s: %w", bpf.EgressMapReasons, err)
		}
		for _, packets := range perCPU {
			if packets > 0 {
				c.Reasons[Reason(r)] += packets
			}
		}
	}
	return c, nil
}
