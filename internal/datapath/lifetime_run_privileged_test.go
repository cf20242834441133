// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
	"github.com/sfunnel-io/funnel-operator/internal/testnet"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// stragglers is for how long after its end packets of a flow may come.
const stragglers = time.Duration(2 << tickShift)

// lifetimes are for how long flows keep their places after their last packet: by themselves,
// and when places are scarce.
var lifetimes = []struct {
	name          string
	state         uint8
	alone, scarce time.Duration
}{
	{"nobody answered", 0, 130 * time.Second, 3 * time.Second},
	{"half open among live ones", flowEarly, 130 * time.Second, 3 * time.Second},
	{"open", flowAnswered, 3 * time.Hour, 3 * time.Hour},
	{"client ended", flowAnswered | 0x02, 5 * time.Minute, 5 * time.Minute},
	{"server ended", flowAnswered | 0x04, 5 * time.Minute, 5 * time.Minute},
	{"both ended", flowAnswered | flowFins, time.Minute, stragglers},
	{"reset at once", flowReset, stragglers, stragglers},
	{"reset", flowAnswered | flowReset, stragglers, stragglers},
	{"reset after the end", flowAnswered | flowFins | flowReset, stragglers, stragglers},
}

// TestFlowsAreOverInTime: what user space takes for over is what a sweep takes away.
func TestFlowsAreOverInTime(t *testing.T) {
	const now = 1 << 20
	for _, l := range lifetimes {
		last := uint32(l.alone >> tickShift)
		for ticks, want := range map[uint32]bool{0: false, last: false, last + 1: true} {
			if got := (flowEntry{Tick: now - ticks, State: l.state}).over(now << tickShift); got != want {
				t.Errorf("%s, %d ticks ago: over %v", l.name, ticks, got)
			}
		}
	}
}

// TestFlowsKeepTheirPlacesInTime sweeps full tables with flows of every age, to the tick.
func TestFlowsKeepTheirPlacesInTime(t *testing.T) {
	p := limited(t, 200, rules.PortRange{First: 32768, Last: 60999})
	for _, c := range []struct {
		name        string
		over, ago   uint32 // what the sweep before found, and how many ticks ago
		manyAreOver bool
		scarce      bool
	}{
		{"many are over", 256, 1, true, false},
		{"few are over", 256, 1, false, true},
		{"few were over", 255, 1, true, true},
		{"few were over almost 10 s ago", 255, 73, true, true},
		{"few were over 10 s ago", 255, 74, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var left map[flowKey]bool
			inOneTick(t, func(now uint32) {
				p.fillWithAges(t, now, c.manyAreOver)
				p.setSweep(t, sweep{Tick: now - c.ago, Over: c.over})
				if got := p.syn(t, families["IPv4"], 41000); got != Funneled {
					t.Errorf("a new flow: counted %v", got)
				}
				left = p.keys(t)
			})
			for i, l := range lifetimes {
				lifetime := l.alone
				if c.scarce {
					lifetime = l.scarce
				}
				if !left[keyOf(i, lifetime)] {
					t.Errorf("%s: gone %v after its last packet", l.name, lifetime)
				}
				if left[keyOf(i, lifetime+1<<tickShift)] {
					t.Errorf("%s: still there a tick after %v", l.name, lifetime)
				}
			}
		})
	}
}

// inOneTick does something again until no tick passes meanwhile.
func inOneTick(t *testing.T, do func(now uint32)) {
	t.Helper()
	for range 1000 {
		now := tickNow(t)
		do(now)
		if tickNow(t) == now || t.Failed() {
			return
		}
	}
	t.Fatal("a tick always passes meanwhile")
}

func tickNow(t *testing.T) uint32 {
	t.Helper()
	now, err := monotonic()
	if err != nil {
		t.Fatal(err)
	}
	return uint32(now >> tickShift)
}

// keyOf is the key of a flow in a state of lifetimes whose last packet came so long ago.
func keyOf(state int, ago time.Duration) (key flowKey) {
	binary.BigEndian.PutUint32(key.Source[:], uint32(ago>>tickShift))
	key.SourcePort[1], key.Family, key.Protocol, key.Hook = byte(state), 4, wire.TCP, 1
	return key
}

// fillWithAges makes a table full of flows: of each state two for each lifetime, one as old as
// that and one a tick older, and others that are all over or all open.
func (p *Programs) fillWithAges(t *testing.T, now uint32, othersAreOver bool) {
	t.Helper()
	table := p.egress.maps[bpf.EgressMapFlows]
	for key := range p.keys(t) {
		if err := table.Delete(key); err != nil {
			t.Fatal(err)
		}
	}
	full := map[flowKey]flowEntry{}
	for i, l := range lifetimes {
		for _, ago := range []time.Duration{l.alone, l.alone + 1<<tickShift, l.scarce, l.scarce + 1<<tickShift} {
			full[keyOf(i, ago)] = flowEntry{Tick: now - uint32(ago>>tickShift), State: l.state, Kind: flowBackend}
		}
	}
	other := flowEntry{Tick: now, State: flowAnswered, Kind: flowBackend}
	if othersAreOver {
		other.State, other.Tick = flowReset, now-1000
	}
	for i := uint32(0); len(full) < int(table.MaxEntries()); i++ {
		full[keyOf(len(lifetimes), time.Duration(i)<<tickShift)] = other
	}
	for key, entry := range full {
		if err := table.Put(key, entry); err != nil {
			t.Fatal(err)
		}
	}
}

// keys are those of the flow table.
func (p *Programs) keys(t *testing.T) map[flowKey]bool {
	t.Helper()
	keys := map[flowKey]bool{}
	var key flowKey
	var entry flowEntry
	entries := p.egress.maps[bpf.EgressMapFlows].Iterate()
	for entries.Next(&key, &entry) {
		keys[key] = true
	}
	if err := entries.Err(); err != nil {
		t.Fatal(err)
	}
	return keys
}

// sweep is what a program keeps of the last one: its .bss, the static variables of
// bpf/flow.h in their order.
type sweep struct{ Tick, Over, Early, Wanted, EarlyFlows uint32 }

// setSweep changes what the egress program keeps of the last sweep.
func (p *Programs) setSweep(t *testing.T, s sweep) {
	t.Helper()
	if err := p.egress.maps[".bss"].Put(uint32(0), s); err != nil {
		t.Fatal(err)
	}
}

// TestInlineClosedFlowsMakeRoom: those that both sides have ended, not those that one has.
func TestInlineClosedFlowsMakeRoom(t *testing.T) {
	const flows = 5
	p := limited(t, flows, rules.PortRange{First: 32768, Last: 60999})
	e := families["IPv4"]
	afterwards := func() {
		p.each(t, func(f *flowEntry) { f.Tick -= 3 })
		p.setSweep(t, sweep{})
	}
	var ports [flows]uint16
	for i := range ports {
		sport := 40000 + uint16(i)
		ports[i] = p.claimed(t, e, sport)
		runOn(t, p.Ingress, e.back(seg{sport: 179, dport: ports[i], urgent: 4739, flags: wire.SYN | wire.ACK}))
		runOn(t, p.Egress, e.out(seg{sport: sport, dport: 4739, flags: wire.ACK | wire.FIN}))
	}
	afterwards()
	if got := p.syn(t, e, 41000); got != FlowsFull {
		t.Errorf("clients ended: counted %v", got)
	}
	for _, x := range ports {
		runOn(t, p.Ingress, e.back(seg{sport: 179, dport: x, urgent: 4739, flags: wire.ACK | wire.FIN}))
	}
	afterwards()
	if got := p.syn(t, e, 41000); got != Funneled {
		t.Errorf("both sides ended: counted %v", got)
	}
	if n := p.entries(t, bpf.EgressMapFlows); n != entriesFunneled {
		t.Errorf("%d entries, want those of the new flow", n)
	}
	p.sourcesAreCounted(t)
}

// sweptEvery loads a client whose table is swept once in so many ticks.
func sweptEvery(t *testing.T, ticks uint32, flows int) *Programs {
	t.Helper()
	testnet.RequireRoot(t)
	table := mustCompile(t, funnelInline)
	plan := mustPlan(t, Config{Egress: table, Flows: flows})
	o, err := objectFor(rules.Egress, table, ethernet, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []func() error{
		func() error { return sizePushed(o, nil) },
		func() error { return plan.configure(o, rules.Egress) },
		func() error { return o.set(bpf.EgressVarSweepTicks, ticks) },
	} {
		if err := set(); err != nil {
			t.Fatal(err)
		}
	}
	l, err := o.load(plan.shared)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	if err := fill(l.maps, table); err != nil {
		t.Fatal(err)
	}
	return &Programs{Egress: l.program, egress: l}
}

// TestTablesAreSweptSoOftenOnly: a full table in which all flows are over has a place for the
// next one when the time of a sweep has come.
func TestTablesAreSweptSoOftenOnly(t *testing.T) {
	const flows, every = 5, 1 << 20 // ticks; a day and a half
	p := sweptEvery(t, every, flows)
	e := families["IPv4"]
	for i := range uint16(flows) {
		p.claimed(t, e, 40000+i)
	}
	p.each(t, func(f *flowEntry) { f.State, f.Tick = flowReset, f.Tick-1000 })
	for _, c := range []struct {
		ago  uint32
		want Reason
	}{{0, FlowsFull}, {1, FlowsFull}, {every / 2, FlowsFull}, {every, Funneled}} {
		p.setSweep(t, sweep{Tick: tickNow(t) - c.ago})
		if got := p.syn(t, e, 41000); got != c.want {
			t.Errorf("%d ticks after a sweep: counted %v", c.ago, got)
		}
	}
}
