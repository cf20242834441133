// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"slices"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// TestMSSIsLoweredToWhatFits: 1500 less IP, TCP and pushed header. Whatever
// stands in front of the option, and on both sides of the push.
func TestMSSIsLoweredToWhatFits(t *testing.T) {
	s := newSite(t)
	device := ethernet
	device.Index = s.client.Index("eth0")
	mss := func(n uint16) []byte { return []byte{2, 4, byte(n >> 8), byte(n)} }
	cases := []struct {
		name          string
		options       func(mss []byte) []byte
		before, after int // 0 and 0: no option
		flags         byte
	}{
		{"alone", func(m []byte) []byte { return m }, 1460, -1, wire.SYN},
		{"SYN-ACK", func(m []byte) []byte { return m }, 1460, -1, wire.SYN | wire.ACK},
		{"of a larger MTU", func(m []byte) []byte { return m }, 8960, -1, wire.SYN},
		{"behind others", func(m []byte) []byte { return slices.Concat([]byte{4, 2, 1, 1}, m, []byte{1, 3, 3, 7}) }, 1460, -1, wire.SYN},
		{"at an odd offset", func(m []byte) []byte { return slices.Concat([]byte{1, 3, 3, 7, 1}, m, []byte{1, 1, 0}) }, 1460, -1, wire.SYN},
		{"last of many", func(m []byte) []byte { return append(slices.Repeat([]byte{1}, 36), m...) }, 1460, -1, wire.SYN},
		{"fits already", func(m []byte) []byte { return m }, 1400, 1400, wire.SYN},
		{"no SYN", func(m []byte) []byte { return m }, 1460, 1460, wire.ACK},
		{"no option", func([]byte) []byte { return []byte{4, 2, 1, 1} }, 1460, 1460, wire.SYN},
		{"behind the end", func(m []byte) []byte { return slices.Concat([]byte{1, 1, 1, 0}, m) }, 1460, 1460, wire.SYN},
		{"of a wrong length", func(m []byte) []byte { return []byte{2, 3, m[2], 1} }, 1460, 1460, wire.SYN},
		{"behind an option of length 0", func(m []byte) []byte { return slices.Concat([]byte{9, 0, 1, 1}, m) }, 1460, 1460, wire.SYN},
		{"cut off", func([]byte) []byte { return []byte{1, 1, 2, 4} }, 1460, 1460, wire.SYN},
	}
	for _, six := range []bool{false, true} {
		for _, outer := range []byte{wire.TCP, wire.UDP} {
			fits := map[byte]int{wire.TCP: 1440, wire.UDP: 1452}[outer]
			if six {
				fits -= 20
			}
			var programs *Programs
			s.client.Do(func() { programs = mustLoad(t, popRule(wire.TCP), pushRule(outer), device) })
			for _, c := range cases {
				t.Run(fmt.Sprintf("%s, through %s, IPv6 %v", c.name, protocolName[outer], six), func(t *testing.T) {
					after := c.after
					if after < 0 {
						after = fits
					}
					syn := func(n int) wire.Segment {
						return wire.Segment{Protocol: wire.TCP, Source: 40000, Dest: 4739, Seq: 7, Flags: c.flags, Window: 64000, Options: c.options(mss(uint16(n)))}
					}
					k := dialog{six: six}
					from, to := k.addresses()
					plain := func(n int) []byte { return k.frame(wire.TCP, from, to, syn(n).Bytes(from, to)) }
					pushed := func(n int) []byte {
						return k.frame(outer, from, to, wire.Pushed(outer, 540, 179, syn(n), from, to))
					}
					s.client.Do(func() {
						_, got := runOn(t, pusher(programs), plain(c.before))
						sameFrame(t, got, pushed(after))
						_, got = runOn(t, programs.Ingress, pushed(c.before), csumComplete)
						sameFrame(t, got, plain(after))
					})
				})
			}
		}
	}
}
