// SPDX-License-Identifier: Apache-2.0

// Package rulestest makes random rule sets and packets for property tests.
// Values are drawn from small pools, so that rules overlap and packets hit
// the edges of what rules say. Equal seeds give equal values. For tests only.
package rulestest

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// Seed returns a new seed and logs it, or the one in FUNNEL_SEED, so that a
// failure can be repeated.
func Seed(t testing.TB) uint64 {
	seed := rand.Uint64()
	if text := os.Getenv("FUNNEL_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal("FUNNEL_SEED:", err)
		}
	}
	t.Logf("FUNNEL_SEED=%d", seed)
	return seed
}

// New returns a source of random values.
func New(seed uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, seed))
}

// RuleSet returns n valid rules in canonical form.
func RuleSet(rng *rand.Rand, n int) rules.RuleSet {
	rs := make(rules.RuleSet, n)
	pool := 4 + n/4
	for i := range rs {
		rs[i] = rule(rng, pool)
	}
	return rs.Canonical()
}

// rule draws addresses and ports from about pool different ones.
func rule(rng *rand.Rand, pool int) rules.Rule {
	r := rules.Rule{Protocol: pick(rng, rules.TCP, rules.UDP)}
	family := pick(rng, rules.AnyFamily, rules.IPv4, rules.IPv6)
	r.Family = family
	if family == rules.AnyFamily {
		family = pick(rng, rules.IPv4, rules.IPv6)
	}
	if oneIn(rng, 3) {
		r.Source = addresses(rng, family, pool)
	}
	if oneIn(rng, 2) {
		r.Destination = addresses(rng, family, pool)
	}
	if oneIn(rng, 4) {
		r.SourcePorts = ports(rng, pool)
	}
	if !oneIn(rng, 5) {
		r.DestinationPorts = ports(rng, pool)
	}
	r.Pushed = r.Protocol == rules.TCP && oneIn(rng, 8)
	r.Action = action(rng, r, pool)
	return r
}

func action(rng *rand.Rand, match rules.Rule, pool int) rules.Action {
	a := rules.Action{Verb: pick(rng, rules.Accept, rules.Drop, rules.Funnel, rules.Unfunnel)}
	if a.Verb == rules.Accept || a.Verb == rules.Drop {
		return a
	}
	a.Protocol = pick(rng, rules.TCP, rules.UDP)
	a.Inline = match.Protocol == rules.TCP && a.Protocol == rules.TCP && !match.Pushed && oneIn(rng, 4)
	a.Reply = !a.Inline && oneIn(rng, 4)
	if a.Verb == rules.Unfunnel {
		if oneIn(rng, 2) {
			a.Ports = ports(rng, pool)
		}
		return a
	}
	a.Port = port(rng, pool)
	if !a.Inline {
		a.SourcePorts = portRange(rng, pool)
	}
	return a
}

func addresses(rng *rand.Rand, family rules.Family, pool int) rules.AddrSet {
	s := rules.AddrSet{Not: oneIn(rng, 4)}
	for range 1 + rng.IntN(3) {
		a := address(rng, family, pool)
		prefix, _ := a.Prefix(a.BitLen() - prefixGap(rng, a))
		s.Prefixes = append(s.Prefixes, prefix)
	}
	return s
}

// prefixGap is the number of host bits: mostly none, few, or all.
func prefixGap(rng *rand.Rand, a netip.Addr) int {
	switch rng.IntN(8) {
	case 0:
		return rng.IntN(a.BitLen() + 1)
	case 1, 2, 3:
		return rng.IntN(10)
	}
	return 0
}

// address draws from about pool addresses that share their upper bits.
func address(rng *rand.Rand, family rules.Family, pool int) netip.Addr {
	n := rng.IntN(pool)
	if family == rules.IPv4 {
		return netip.AddrFrom4([4]byte{10, byte(n % 3 * 85), byte(n >> 8), byte(n)})
	}
	a := [16]byte{0: 0xfd, 7: byte(n % 3), 8: byte(n % 2 * 0x80), 14: byte(n >> 8), 15: byte(n)}
	return netip.AddrFrom16(a)
}

func ports(rng *rand.Rand, pool int) rules.PortSet {
	s := rules.PortSet{Not: oneIn(rng, 5)}
	for range 1 + rng.IntN(3) {
		s.Ranges = append(s.Ranges, portRange(rng, pool))
	}
	return s
}

func portRange(rng *rand.Rand, pool int) rules.PortRange {
	first, last := port(rng, pool), port(rng, pool)
	if !oneIn(rng, 5) {
		last = first
	}
	return rules.PortRange{First: min(first, last), Last: max(first, last)}
}

// port draws from about pool ports spread over the whole range, its ends
// included.
func port(rng *rand.Rand, pool int) uint16 {
	switch n := rng.IntN(pool); n {
	case 0:
		return 1
	case 1:
		return 65535
	default:
		return uint16(1 + n*60013%65535)
	}
}

// Packets returns n packets near the edges of the rules: each field is taken
// from a rule, most often the same rule for all fields, and moved by one or
// replaced now and then.
func Packets(rng *rand.Rand, rs rules.RuleSet, n int) []rules.Packet {
	out := make([]rules.Packet, n)
	for i := range out {
		out[i] = packet(rng, rs)
	}
	return out
}

func packet(rng *rand.Rand, rs rules.RuleSet) rules.Packet {
	if len(rs) == 0 {
		rs = rules.RuleSet{rule(rng, 4)}
	}
	r := rs[rng.IntN(len(rs))]
	family := r.Family
	if family == rules.AnyFamily {
		family = pick(rng, rules.IPv4, rules.IPv6)
	}
	p := rules.Packet{
		Source:          near(rng, r.Source, family, len(rs)),
		Destination:     near(rng, r.Destination, family, len(rs)),
		Protocol:        r.Protocol,
		SourcePort:      nearPort(rng, r.SourcePorts, len(rs)),
		DestinationPort: nearPort(rng, r.DestinationPorts, len(rs)),
	}
	if oneIn(rng, 12) {
		p.Protocol = pick(rng, rules.TCP, rules.UDP, 1, 132)
	}
	p.Pushed = p.Protocol == rules.TCP && (r.Pushed || oneIn(rng, 6))
	return p
}

// near is an address at an edge of the set, or any of the pool.
func near(rng *rand.Rand, s rules.AddrSet, family rules.Family, n int) netip.Addr {
	if len(s.Prefixes) == 0 || oneIn(rng, 8) || rules.FamilyOf(s.Prefixes[0].Addr()) != family {
		return address(rng, family, 4+n/4)
	}
	prefix := pick(rng, s.Prefixes...)
	edge := prefix.Masked().Addr()
	if oneIn(rng, 2) {
		edge = lastAddress(prefix)
	}
	moved := edge
	switch rng.IntN(6) {
	case 0:
		moved = edge.Prev()
	case 1:
		moved = edge.Next()
	}
	if !moved.IsValid() {
		return edge
	}
	return moved
}

func lastAddress(p netip.Prefix) netip.Addr {
	bytes := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(bytes); bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(bytes)
	return a
}

// nearPort is a port at an edge of the set, just beside it, or any.
func nearPort(rng *rand.Rand, s rules.PortSet, n int) uint16 {
	if len(s.Ranges) == 0 || oneIn(rng, 8) {
		return pick(rng, 0, uint16(rng.Uint32()), port(rng, 4+n/4))
	}
	r := pick(rng, s.Ranges...)
	return pick(rng, r.First, r.First, r.Last, r.First-1, r.Last+1)
}

func pick[T any](rng *rand.Rand, from ...T) T {
	return from[rng.IntN(len(from))]
}

func oneIn(rng *rand.Rand, n int) bool {
	return rng.IntN(n) == 0
}
