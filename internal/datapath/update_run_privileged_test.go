// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// replacedBy loads a client with other rules in the place of these, whose flows go on.
func (p *Programs) replacedBy(t *testing.T, egress string, generation uint32) *Programs {
	t.Helper()
	next, err := Load(Config{
		Egress: mustCompile(t, egress), Interface: ethernet, Generation: generation,
		Kept: &Kept{FlowTables: &FlowTables{maps: p.egress.maps}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { next.Close() })
	return next
}

// TestASYNThatIsSentAgainGoesOn: an attempt to connect that nobody has answered goes on as it
// began after an update, though other rules would drop it. Any other SYN in the place of an
// earlier flow begins a connection.
func TestASYNThatIsSentAgainGoesOn(t *testing.T) {
	for family, e := range families {
		t.Run(family, func(t *testing.T) {
			p := mustLoad(t, "", funnelInline, ethernet)
			same, others := p.replacedBy(t, funnelInline, 0), p.replacedBy(t, "tcp dport 4739 drop", 1)
			for i, c := range []struct {
				name  string
				next  *Programs
				state uint8
				ago   uint32 // ticks
				seq   uint32
				goes  bool
			}{
				{"nobody answered", others, 0, 0, 77, true},
				{"nobody answered for 2 minutes", others, 0, 900, 77, true},
				{"nobody answered for longer than a host tries", others, 0, 969, 77, false},
				{"nobody answered, another try from the same port", others, 0, 0, 78, false},
				{"nobody answered, and the rules are the same", same, 0, 0, 78, true},
				{"open", others, flowAnswered, 0, 77, false},
				{"closed", others, flowAnswered | flowFins, 0, 77, false},
				{"refused", others, flowReset, 0, 77, false},
				{"open, and the rules are the same", same, flowAnswered, 0, 77, true},
			} {
				s := seg{sport: 40000 + uint16(i), dport: 4739, flags: wire.SYN, options: 20, seq: c.seq}
				travels := s
				travels.sport, travels.dport, travels.urgent = p.claimed(t, e, s.sport), 179, 4739
				p.each(t, func(f *flowEntry) { f.State, f.Tick = c.state, f.Tick-c.ago })
				want := step{c.name, c.next.Egress, e.out(s), nil, Dropped}
				if c.goes {
					want.want, want.reason = e.out(travels), Funneled
				}
				c.next.mustStep(t, want)
			}
			p.sourcesAreCounted(t)
		})
	}
}
