// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// BenchmarkInline reports the least that a run cost of twenty times b.N: for
// segments of a flow where they get their marker, and for one of no flow. The
// entries give a segment the ports that it has, so that run after run does the
// same.
func BenchmarkInline(b *testing.B) {
	e := families["IPv4"]
	marker := port(4739)
	for _, c := range []struct {
		name            string
		ingress, egress string
		in              []byte
		key             *flowKey
		entry           flowEntry
	}{
		{"client/egress", "", funnelInline, e.out(seg{sport: 40000, dport: 4739, flags: wire.ACK, data: 64}),
			egressKey(e.client, e.server, 40000, 4739), flowEntry{SourcePort: port(40000), DestinationPort: marker, Urgent: marker, Kind: flowForward, State: flowAnswered}},
		{"backend/egress", unfunnelInline, "", e.back(seg{sport: 4739, dport: 40000, flags: wire.ACK, data: 64}),
			egressKey(e.server, e.client, 4739, 40000), flowEntry{SourcePort: port(4739), DestinationPort: port(40000), Urgent: marker, Kind: flowBackend, State: flowAnswered}},
		{"no match", "", funnelInline, e.out(seg{sport: 40000, dport: 22, flags: wire.ACK, data: 64}), nil, flowEntry{}},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := mustLoad(b, c.ingress, c.egress, ethernet)
			if c.key != nil {
				if err := p.egress.maps[bpf.EgressMapFlows].Put(c.key, &c.entry); err != nil {
					b.Fatal(err)
				}
			}
			best := 1e9
			for range 20 {
				_, each, err := p.Egress.Benchmark(c.in, max(b.N, 20000), b.ResetTimer)
				if err != nil {
					b.Fatal(err)
				}
				best = min(best, float64(each.Nanoseconds()))
			}
			b.ReportMetric(best, "ns/run")
		})
	}
}

// hookEgress is HOOK_EGRESS of bpf/flow.h.
const hookEgress = 2

func port(n uint16) (p [2]byte) {
	binary.BigEndian.PutUint16(p[:], n)
	return p
}

func egressKey(from, to netip.Addr, sport, dport uint16) *flowKey {
	key := &flowKey{SourcePort: port(sport), DestinationPort: port(dport), Family: 4, Protocol: wire.TCP, Hook: hookEgress}
	copy(key.Source[:], from.AsSlice())
	copy(key.Destination[:], to.AsSlice())
	return key
}
