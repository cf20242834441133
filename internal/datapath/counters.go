// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
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

// A block of counters (bpf/count.h), in 64-bit words.
const (
	countersOfRule = 2
	countersApart  = 8
)

// countersName is what names of maps of counters begin with. Its digit grows when reasons
// change places. How many reasons they have follows, which is not the same for programs of
// another version.
const countersName = bpf.EgressMapCounters + "2."

// sizeCounters makes room for the counters of every processor.
func sizeCounters(o *object, rs rules.RuleSet) error {
	processors, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count processors: %w", err)
	}
	block := int(reasonCount) + countersOfRule*len(rs) + countersApart
	spec := o.maps[bpf.EgressMapCounters]
	spec.Name, spec.ValueSize = countersName+strconv.Itoa(int(reasonCount)), uint32(8*block*processors)
	return o.setAll(map[string]any{
		bpf.EgressVarCountersBlock: uint32(block),
		bpf.EgressVarCountersWords: uint32(block * processors),
	})
}

// AttachedCounters reads the counters of a program that is attached somewhere,
// given its id. It needs CAP_SYS_ADMIN, as the kernel demands for taking up
// what another process loaded.
func AttachedCounters(id ebpf.ProgramID) (c Counters, err error) {
	found := false
	err = eachMap(id, func(name string, m *ebpf.Map) (err error) {
		number, ok := strings.CutPrefix(name, countersName)
		if !ok {
			return nil
		}
		found = true
		reasons, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return err
		}
		c, err = readCounters(m, int(reasons))
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("program %d has no counters that this version knows", id)
	}
	return c, err
}

// readCounters sums the counters of all processors.
func readCounters(counters *ebpf.Map, reasons int) (Counters, error) {
	words := make([]uint64, counters.ValueSize()/8)
	if err := counters.Lookup(uint32(0), words); err != nil {
		return Counters{}, fmt.Errorf("read %s: %w", bpf.EgressMapCounters, err)
	}
	processors, err := ebpf.PossibleCPU()
	if err != nil {
		return Counters{}, fmt.Errorf("count processors: %w", err)
	}
	block := len(words) / processors
	sum := make([]uint64, block)
	for i, n := range words {
		sum[i%block] += n
	}
	if block < reasons+countersApart {
		return Counters{}, fmt.Errorf("%s: %d words for a processor, for %d reasons", bpf.EgressMapCounters, block, reasons)
	}
	c := Counters{Reasons: map[Reason]uint64{}}
	for r, packets := range sum[:reasons] {
		if packets > 0 {
			c.Reasons[Reason(r)] = packets
		}
	}
	for rule := range slices.Chunk(sum[reasons:block-countersApart], countersOfRule) {
		c.Rules = append(c.Rules, RuleCounter{Packets: rule[0], Octets: rule[1]})
	}
	return c, nil
}
