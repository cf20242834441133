// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/classifier"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// DefaultFlows is for how many flows an interface's table has room when the
// configuration does not say.
const DefaultFlows = 8192

// MaxFlows bounds Config.Flows.
const MaxFlows = 1 << 20

// Entries of the flow table (bpf/flow.h) that one flow takes.
const (
	entriesFunneled   = 2
	entriesUnfunneled = 1
)

// halfOpenFlows is how many unfunneled flows may be half open beside the live ones in
// the table, and how many more before they replace each other.
const halfOpenFlows = 1024

// perProcessor is how many places of a table whose entries replace each other a processor
// may keep to itself, used or not (LOCAL_FREE_TARGET in kernel/bpf/bpf_lru_list.c). Before
// Linux 6.16 those who come last in a small table get a single place.
const perProcessor = 128

// replacing returns how large such a table must be to hold that many flows.
func replacing(flows uint32) (uint32, error) {
	processors, err := ebpf.PossibleCPU()
	if err != nil {
		return 0, fmt.Errorf("count processors: %w", err)
	}
	return flows + perProcessor*uint32(processors), nil
}

// sweepEntries is how many entries of the flow table are swept in a tick of 134 ms at most:
// that takes 1 to 3 ms.
const sweepEntries = 1 << 14

// sweepTicks returns how many ticks there are at least between sweeps of a table; as
// SWEEP_REMEMBERS of bpf/flow.h asks, at most those of 10 s.
func sweepTicks(entries uint32) uint32 {
	const most = uint32(10*time.Second>>tickShift) - 1
	return min(max(1, entries/sweepEntries), most)
}

// sourcesFor returns how many counters there are for source ports, so that most of those
// that no flow has are known not to be used. There are no more ports than the largest number.
func sourcesFor(flows uint32) uint32 { return min(1<<16, uint32(1)<<bits.Len32(2*flows)) }

// role is what a hook's rules do with flows that have to be remembered: inline,
// and by a push with replies in kind.
type role struct{ funnels, unfunnels, pushes, pops bool }

func (r role) any() bool { return r.inline() || r.replies() }

func (r role) inline() bool { return r.funnels || r.unfunnels }

func (r role) replies() bool { return r.pushes || r.pops }

func roleOf(t *classifier.Table) role {
	var r role
	if t == nil {
		return r
	}
	for _, rule := range t.Rules() {
		if rule.Action.Inline {
			r.funnels = r.funnels || rule.Action.Verb == rules.Funnel
			r.unfunnels = r.unfunnels || rule.Action.Verb == rules.Unfunnel
		}
		if rule.Action.Reply {
			r.pushes = r.pushes || rule.Action.Verb == rules.Funnel
			r.pops = r.pops || rule.Action.Verb == rules.Unfunnel
		}
	}
	return r
}

// flowTable is what the programs of an interface share, and how large it is.
type flowTable struct {
	ingress, egress role
	entries         uint32
	early           uint32 // how many of the entries may be half open
	halfOpen        uint32
	sources         uint32 // counters
	pushed          uint32
	generation      uint32
	exchange        portRanges
	kept            *Kept                // or nil
	shared          map[string]*ebpf.Map // by their names in the objects; nil when no flow is remembered
}

// planFlows decides on the flow table for a configuration.
func planFlows(c Config) (*flowTable, error) {
	f := &flowTable{
		ingress: roleOf(c.Ingress), egress: roleOf(c.Egress), entries: 1, early: 1, halfOpen: 1, sources: 1, pushed: 1,
		generation: c.Generation, kept: c.Kept,
	}
	flows := uint32(c.Flows)
	if flows == 0 {
		flows = DefaultFlows
	}
	var err error
	if f.ingress.funnels || f.egress.funnels {
		f.entries += flows * entriesFunneled
		f.sources = sourcesFor(flows)
		if f.exchange, err = c.exchangePorts(); err != nil {
			return nil, err
		}
	}
	if f.ingress.unfunnels || f.egress.unfunnels {
		f.early = min(halfOpenFlows, flows)
		f.entries += flows*entriesUnfunneled + f.early
		if f.halfOpen, err = replacing(f.early); err != nil {
			return nil, err
		}
	}
	if f.replies() {
		if f.pushed, err = replacing(flows); err != nil {
			return nil, err
		}
	}
	f.keep()
	return f, nil
}

// keepsInline reports whether tables of inline flows are kept.
func (f *flowTable) keepsInline() bool {
	return f.kept != nil && f.kept.maps[bpf.EgressMapFlows] != nil
}

// keepsPushed reports that of the table of replies in kind. Without a rule that says
// reply nothing asks it.
func (f *flowTable) keepsPushed() bool {
	return f.kept != nil && f.kept.maps[bpf.EgressMapPushedFlows] != nil && f.replies()
}

// keep goes on with what is in the tables that are kept, in their sizes.
func (f *flowTable) keep() {
	if f.keepsPushed() {
		f.pushed = f.kept.maps[bpf.EgressMapPushedFlows].MaxEntries()
	}
	if !f.keepsInline() {
		return
	}
	f.ingress.unfunnels = f.ingress.unfunnels || f.kept.Unfunneled[rules.Ingress]
	f.egress.unfunnels = f.egress.unfunnels || f.kept.Unfunneled[rules.Egress]
	f.entries = f.kept.maps[bpf.EgressMapFlows].MaxEntries()
	f.early = min(f.early, max(1, (f.entries-1)/2)) // half open ones leave room for live ones
	if f.keepsHalfOpen() {
		f.halfOpen = f.kept.maps[bpf.EgressMapHalfOpen].MaxEntries()
	}
	if f.keepsSources() {
		f.sources = f.kept.maps[bpf.EgressMapSources].ValueSize() / sourceSize
	}
}

// keepsSources reports whether source ports are counted already. Where no flow was
// funneled so far there is nothing to count them in.
func (f *flowTable) keepsSources() bool {
	return f.keepsInline() && f.kept.maps[bpf.EgressMapSources].ValueSize() > sourceSize
}

// keepsHalfOpen reports whether there is a table of half-open flows already. Where no flow
// was unfunneled so far there is a single place.
func (f *flowTable) keepsHalfOpen() bool {
	return f.keepsInline() && f.kept.maps[bpf.EgressMapHalfOpen].MaxEntries() > 1
}

// held is what Programs say of the tables.
func (f *flowTable) held() Flows {
	if !f.used() {
		return Flows{}
	}
	entries := f.pushed
	if f.inline() {
		entries = f.entries
	}
	return Flows{
		Kept: true, TakenOver: f.keepsInline() || f.keepsPushed(), Entries: int(entries),
		Unfunneled: map[rules.Direction]bool{rules.Ingress: f.ingress.unfunnels, rules.Egress: f.egress.unfunnels},
	}
}

// used reports whether any flow is remembered. Then both hooks need a program.
func (f *flowTable) used() bool { return f.keepsInline() || f.ingress.any() || f.egress.any() }

// inline reports whether flows of inline are remembered.
func (f *flowTable) inline() bool { return f.keepsInline() || f.ingress.inline() || f.egress.inline() }

// replies reports whether flows that are answered in kind are remembered.
func (f *flowTable) replies() bool { return f.ingress.replies() || f.egress.replies() }

// configure sizes the maps of a direction and tells the programs their part.
func (f *flowTable) configure(o *object, d rules.Direction) error {
	if !f.used() { // the plain object knows none of this
		return nil
	}
	here, other := f.ingress, f.egress
	if d == rules.Egress {
		here, other = other, here
	}
	o.maps[bpf.EgressMapFlows].MaxEntries = f.entries
	o.maps[bpf.EgressMapHalfOpen].MaxEntries = f.halfOpen
	o.maps[bpf.EgressMapSources].ValueSize = f.sources * sourceSize
	o.maps[bpf.EgressMapPushedFlows].MaxEntries = f.pushed
	if here.funnels {
		o.maps[bpf.EgressMapThroughPorts].MaxEntries = 1 << 16 / 64
	}
	return o.setAll(map[string]any{
		bpf.EgressVarRulesGeneration:   f.generation,
		bpf.EgressVarKnowsFlows:        f.inline(),
		bpf.EgressVarFollowsFlows:      f.keepsInline() || here.funnels || other.inline(),
		bpf.EgressVarFunnelsInline:     here.funnels,
		bpf.EgressVarUnfunnelsInline:   here.unfunnels,
		bpf.EgressVarAnswersInline:     other.unfunnels,
		bpf.EgressVarNotesReplies:      here.pops,
		bpf.EgressVarFunnelsReplies:    other.pops,
		bpf.EgressVarUnfunnelsReplies:  other.pushes,
		bpf.EgressVarKnowsReplies:      here.replies() || other.replies(),
		bpf.EgressVarSourcesCount:      f.sources,
		bpf.EgressVarSweepTicks:        sweepTicks(f.entries),
		bpf.EgressVarEarlyFlowsLimit:   f.early,
		bpf.EgressVarExchangeLow:       f.exchange.low.First,
		bpf.EgressVarExchangeLowCount:  f.exchange.low.count(),
		bpf.EgressVarExchangeHigh:      f.exchange.high.First,
		bpf.EgressVarExchangeHighCount: f.exchange.high.count(),
		bpf.EgressVarExchangeCount:     max(1, f.exchange.low.count()+f.exchange.high.count()),
	})
}

// flowKey is struct flow_key of bpf/flow.h.
type flowKey struct {
	Source, Destination         [16]byte // IPv4 in the first 4 bytes
	SourcePort, DestinationPort [2]byte  // network byte order
	Family, Protocol, Hook, _   uint8
}

// flowEntry is struct flow.
type flowEntry struct {
	Tick, Rule                                uint32
	SourcePort, DestinationPort, Urgent, Mark [2]byte // network byte order
	Kind, State                               uint8
	Stamp                                     uint16
	SequenceNumber                            uint32
}

// pushedEntry is struct pushed_flow of bpf/reply.h.
type pushedEntry struct {
	Tick            uint32
	Port            [2]byte // network byte order
	FirstSourcePort uint16
	SourcePorts     uint16
	Outer, Kind     uint8
}

// make makes the tables that the programs of both hooks share.
func (f *flowTable) make() error {
	if !f.used() {
		return nil
	}
	f.shared = map[string]*ebpf.Map{}
	for name, spec := range f.specs() {
		m, err := f.open(name, spec)
		if err != nil {
			f.close()
			return fmt.Errorf("make %s with %d entries: %w", name, spec.MaxEntries, err)
		}
		f.shared[name] = m
	}
	return nil
}

// open returns a table: one that is kept, or a new one.
func (f *flowTable) open(name string, spec *ebpf.MapSpec) (*ebpf.Map, error) {
	keeps := f.keepsInline()
	switch name {
	case bpf.EgressMapPushedFlows:
		keeps = f.keepsPushed()
	case bpf.EgressMapHalfOpen:
		keeps = f.keepsHalfOpen()
	case bpf.EgressMapSources:
		keeps = f.keepsSources()
	}
	if keeps {
		return f.kept.maps[name].Clone()
	}
	return ebpf.NewMap(spec)
}

// sourceSize is that of a counter of source ports, in octets.
const sourceSize = 4

// specs describes the tables as the objects do, with their sizes.
func (f *flowTable) specs() map[string]*ebpf.MapSpec {
	key, value, pushed := uint32(binary.Size(flowKey{})), uint32(binary.Size(flowEntry{})), uint32(binary.Size(pushedEntry{}))
	return map[string]*ebpf.MapSpec{
		bpf.EgressMapFlows: {
			Name: bpf.EgressMapFlows + "_" + flowLayout, Type: ebpf.Hash, KeySize: key, ValueSize: value,
			MaxEntries: f.entries,
		},
		bpf.EgressMapHalfOpen: {
			Name: bpf.EgressMapHalfOpen + "_" + flowLayout, Type: ebpf.LRUHash, KeySize: key, ValueSize: value,
			MaxEntries: f.halfOpen,
		},
		bpf.EgressMapSources: {
			Name: bpf.EgressMapSources + "_" + flowLayout, Type: ebpf.Array, KeySize: 4, ValueSize: f.sources * sourceSize,
			MaxEntries: 1,
		},
		bpf.EgressMapPushedFlows: {
			Name: bpf.EgressMapPushedFlows + "_" + flowLayout, Type: ebpf.LRUHash, KeySize: key, ValueSize: pushed,
			MaxEntries: f.pushed,
		},
	}
}

// close lets go of the tables; the programs keep them.
func (f *flowTable) close() {
	for _, m := range f.shared {
		m.Close()
	}
}

// fillThrough sets the bits of all ports that rules funnel through inline.
func fillThrough(maps map[string]*ebpf.Map, rs rules.RuleSet) error {
	through := maps[bpf.EgressMapThroughPorts]
	if through == nil { // the plain object has no inline rules
		return nil
	}
	words := map[uint32]uint64{}
	for _, r := range rs {
		if r.Action.Inline && r.Action.Verb == rules.Funnel {
			words[uint32(r.Action.Port/64)] |= 1 << (r.Action.Port % 64)
		}
	}
	for word, ports := range words {
		if err := through.Put(word, ports); err != nil {
			return fmt.Errorf("fill %s: %w", bpf.EgressMapThroughPorts, err)
		}
	}
	if err := through.Freeze(); err != nil {
		return fmt.Errorf("freeze %s: %w", bpf.EgressMapThroughPorts, err)
	}
	return nil
}
