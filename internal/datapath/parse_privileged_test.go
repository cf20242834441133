// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// everything matches all that can be matched: what parsing lets through gets
// rewritten or dropped.
const (
	funnelEverything   = "tcp funnel tcp dport 179 sport 540; udp funnel tcp dport 179 sport 540"
	unfunnelEverything = "tcp unfunnel udp; udp unfunnel udp"
)

// edit returns a copy of a frame with octets replaced at an offset behind the
// Ethernet header.
func edit(frame []byte, offset int, octets ...byte) []byte {
	out := slices.Clone(frame)
	copy(out[14+offset:], octets)
	return out
}

func withFragment(fragment uint16) []byte {
	h := header(wire.UDP)
	h.Fragment = fragment
	return frame(h, segment(wire.UDP, 32).Bytes(client, server))
}

func TestOddPacketsStayUntouched(t *testing.T) {
	udp := makePair(wire.UDP, wire.TCP, 32, nil).plain
	tcp := makePair(wire.TCP, wire.TCP, 32, nil).plain
	esp := header(wire.ESP)
	ah := header(wire.AH)
	cases := []struct {
		name  string
		frame []byte
		want  Reason
	}{
		{"first fragment", withFragment(wire.MF), Fragment},
		{"middle fragment", withFragment(wire.MF | 185), Fragment},
		{"last fragment", withFragment(185), Fragment},
		{"first fragment with DF", withFragment(wire.DF | wire.MF), Fragment},
		{"reserved flag is no fragment", withFragment(0x8000), Funneled},
		{"ESP", frame(esp, payload(64)), IPsec},
		{"AH", frame(ah, payload(64)), IPsec},
		{"ICMP", frame(header(wire.ICMP), payload(64)), OtherProtocol},
		{"SCTP", frame(header(132), payload(64)), OtherProtocol},
		{"ARP", wire.Ethernet(0x0806, payload(28)), NotIP},
		{"Ethertype of LLDP", wire.Ethernet(0x88cc, payload(60)), NotIP},
		{"VLAN", wire.Ethernet(wire.EtherTypeVLAN, append([]byte{0, 5, 8, 0}, udp[14:]...)), VLAN},
		{"QinQ", wire.Ethernet(0x88a8, append([]byte{0, 5, 0x81, 0}, udp[14:]...)), VLAN},
		{"IPv6 under the Ethertype of IPv4", edit(udp, 0, 0x65), BadVersion},
		{"version 0", edit(udp, 0, 0x05), BadVersion},
		{"IHL 0", edit(udp, 0, 0x40), BadIHL},
		{"IHL 4", edit(udp, 0, 0x44), BadIHL},
		{"IHL larger than the packet's length", edit(udp, 0, 0x4f, 0, 0, 40), BadLength},
		{"total length 0", edit(udp, 2, 0, 0), BadLength},
		{"total length below the header's", edit(udp, 2, 0, 19), BadLength},
		{"total length beyond the packet", edit(udp, 2, 0, 61), BadLength},
		{"total length 65535", edit(udp, 2, 0xff, 0xff), BadLength},
		{"no room for UDP", frame(header(wire.UDP), payload(7)), Short},
		{"no room for TCP", frame(header(wire.TCP), payload(19)), Short},
		{"UDP length 0", edit(udp, 24, 0, 0), BadLength},
		{"UDP length below 8", edit(udp, 24, 0, 7), BadLength},
		{"UDP length one short", edit(udp, 24, 0, 39), BadLength},
		{"UDP length one long", edit(udp, 24, 0, 41), BadLength},
		{"TCP header of 4 words", edit(tcp, 32, 0x40), BadLength},
		{"TCP header of 15 words, 52 octets there", edit(tcp, 32, 0xf0), BadLength},
	}
	for rules, programs := range map[string]*Programs{
		"funnel":   mustLoad(t, funnelEverything, funnelEverything, ethernet),
		"unfunnel": mustLoad(t, unfunnelEverything, unfunnelEverything, ethernet),
	} {
		for _, c := range cases {
			if c.want == Funneled && rules == "unfunnel" {
				continue
			}
			t.Run(rules+" "+c.name, func(t *testing.T) {
				for _, program := range []*ebpf.Program{programs.Ingress, programs.Egress} {
					if c.want == Funneled && program == programs.Egress && !pushesDirectly() {
						continue
					}
					reason, verdict, after := reasonOf(t, programs, program, c.frame)
					if reason != c.want || verdict != unspec {
						t.Errorf("verdict %d, counted %v, want %v", verdict, reason, c.want)
					}
					if c.want != Funneled {
						sameFrame(t, after, c.frame)
					}
				}
			})
		}
	}
}

// The shortest frames that the kernel runs programs on; shorter ones are sent
// through a real interface in the namespace tests.
const (
	shortestRun  = 34
	shortestRun6 = 54
)

// TestTruncatedPacketsStayUntouched cuts packets at every length, with and
// without IP options. Nothing of them is rewritten before they are whole.
func TestTruncatedPacketsStayUntouched(t *testing.T) {
	programs := mustLoad(t, unfunnelEverything, funnelEverything, ethernet)
	runs := 0
	for _, options := range [][]byte{nil, payload(4), payload(40)} {
		for _, protocol := range []byte{wire.UDP, wire.TCP} {
			whole := makePair(protocol, wire.TCP, 24, options).plain
			for n := shortestRun; n < len(whole); n++ {
				for _, program := range []*ebpf.Program{programs.Ingress, programs.Egress} {
					reason, verdict, after := reasonOf(t, programs, program, whole[:n])
					if verdict != unspec || (reason != Short && reason != BadLength) {
						t.Errorf("%d octets: verdict %d, counted %v", n, verdict, reason)
					}
					sameFrame(t, after, whole[:n])
					runs++
				}
			}
		}
	}
	t.Logf("%d packets", runs)
}

// TestTruncatedPushedPacketsAreDropped shortens a pushed packet consistently: IP
// header, and UDP header if that is the outer one, say the shorter length.
func TestTruncatedPushedPacketsAreDropped(t *testing.T) {
	programs := mustLoad(t, unfunnelEverything, "", ethernet)
	for _, outer := range []byte{wire.TCP, wire.UDP} {
		for _, options := range [][]byte{nil, payload(8)} {
			h := header(outer)
			h.Options = options
			pushed := wire.Pushed(outer, 540, 179, segment(wire.UDP, 24), client, server)
			outerLength := len(pushed) - 32
			for n := outerLength; n < len(pushed); n++ {
				cut := slices.Clone(pushed[:n])
				if outer == wire.UDP {
					binary.BigEndian.PutUint16(cut[4:], uint16(n))
				}
				want := InnerLength
				if n < outerLength+8 {
					want = InnerShort
				}
				reason, verdict, _ := reasonOf(t, programs, programs.Ingress, frame(h, cut))
				if verdict != shot || reason != want {
					t.Errorf("%d octets: verdict %d, counted %v, want %v", n, verdict, reason, want)
				}
			}
		}
	}
}

// TestRandomPacketsChangeOnlyWhenTheyShould runs noise, and packets with a few
// octets of noise, through rules that match everything. What the test does not
// take for a packet of its own accord must come out as it went in.
func TestRandomPacketsChangeOnlyWhenTheyShould(t *testing.T) {
	programs := mustLoad(t, unfunnelEverything, funnelEverything, ethernet)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	changed := 0
	templates := slices.DeleteFunc(pairs(), func(p pair) bool { return len(p.plain) > 160 })
	for range scaled(50000) {
		in := noise(rng, templates)
		verdict, out := runOn(t, pusher(programs), in)
		switch {
		case verdict == shot && !pushesDirectly() && !sound(in):
		case verdict == shot:
			t.Fatalf("seed %d: verdict %d on % x", seed, verdict, in)
		case !slices.Equal(in, out):
			changed++
			if !sound(in) {
				t.Fatalf("seed %d: % x\nbecame % x", seed, in, out)
			}
		case sound(in):
			t.Fatalf("seed %d: stayed as it was: % x", seed, in)
		}
		if verdict, out := runOn(t, programs.Ingress, in); verdict == unspec && !sound(in) {
			sameFrame(t, out, in)
		}
	}
	t.Logf("%d of %d changed", changed, scaled(50000))
}

func noise(rng *rand.Rand, templates []pair) []byte {
	in := slices.Clone(templates[rng.IntN(len(templates))].plain)
	if rng.IntN(4) == 0 {
		for i := range in[14:] {
			in[14+i] = byte(rng.Uint32())
		}
	}
	for range rng.IntN(4) {
		in[14+rng.IntN(min(60, len(in)-14))] = byte(rng.Uint32())
	}
	if rng.IntN(3) == 0 {
		shortest := shortestRun
		if in[12] == 0x86 {
			shortest = shortestRun6
		}
		in = in[:shortest+rng.IntN(len(in)-shortest)]
	}
	return in
}

// sound reports whether a frame is IP with TCP or UDP, no fragment, with few
// extension headers, with lengths that agree. It is written from RFC 791, 8200,
// 768 and 9293.
func sound(frame []byte) bool {
	p := frame[14:]
	if frame[12] == 0x86 {
		if p[0]>>4 != 6 {
			return false
		}
		total := 40 + int(p[4])<<8 + int(p[5])
		return total <= len(p) && soundExtensions(p[6], p[40:total])
	}
	if len(p) < 20 || p[0]>>4 != 4 || p[0]&15 < 5 || p[6]&0x3f != 0 || p[7] != 0 {
		return false
	}
	ihl, total := int(p[0]&15)*4, int(p[2])<<8|int(p[3])
	if total > len(p) || total < ihl {
		return false
	}
	return soundSegment(p[9], p[ihl:total])
}

// soundExtensions: up to five headers of 64 octets together. A routing header
// must not lead on.
func soundExtensions(next byte, rest []byte) bool {
	whole := len(rest)
	for range 5 {
		if next != destOptions && next != routing && next != 0 {
			break
		}
		if len(rest) < 8 || next == routing && rest[3] != 0 || len(rest) < 8+8*int(rest[1]) {
			return false
		}
		next, rest = rest[0], rest[8+8*int(rest[1]):]
	}
	return whole-len(rest) <= 64 && soundSegment(next, rest)
}

func soundSegment(protocol byte, l4 []byte) bool {
	switch protocol {
	case wire.UDP:
		return len(l4) >= 8 && int(l4[4])<<8|int(l4[5]) == len(l4)
	case wire.TCP:
		return len(l4) >= 20 && l4[12]>>4 >= 5 && int(l4[12]>>4)*4 <= len(l4)
	}
	return false
}
