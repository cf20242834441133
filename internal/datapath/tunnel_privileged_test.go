// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

// TestSmallPacketOfATunnel: over IPv6 a local tunnel leaves its own checksum to the
// card when what it carries has a whole one, or none. A packet so short can't be cut,
// and has to grow at its end; the kernel allows it, as it takes note of a tunnel
// (skb->encapsulation) only where the checksum inside is left to the card.
func TestSmallPacketOfATunnel(t *testing.T) {
	const (
		push = "ip6 udp dport 4789 funnel tcp dport 1179 sport 540"
		pop  = "ip6 tcp dport 1179 sport 540 unfunnel udp dport 4789"

		experimental = 0x88b5 // IEEE 802: local experimental
		// Octets behind the inner Ethernet header. A tunnel takes no less from this socket,
		// which says that it is IP; from 25 on a packet could be cut.
		shortest, longest = 20, 60
	)
	s := newSite(t)
	s.client.Run("ip", "link", "add", "tunnel", "type", "vxlan", "id", "7", "dstport", "4789", "dev", "eth0", "local", "fd77:1::2", "remote", "fd77:2::2")
	s.server.Run("ip", "link", "add", "tunnel", "type", "vxlan", "id", "7", "dstport", "4789", "dev", "eth0", "local", "fd77:2::2", "remote", "fd77:1::2")
	s.client.Run("ip", "link", "set", "tunnel", "addrgenmode", "none", "up")
	s.server.Run("ip", "link", "set", "tunnel", "addrgenmode", "none", "up")
	sender := s.funnel(s.client, "eth0", "", push)
	receiver := s.funnel(s.server, "eth0", pop, "")
	came := s.server.Capture("tunnel")
	tunnel := s.packetSocket("tunnel")

	ethernet := append(bytes.Repeat([]byte{0xff}, 6), 2, 0, 0, 0, 0, 1, experimental>>8, experimental&0xff)
	arrived := func(frame []byte) bool {
		return slices.ContainsFunc(came.Frames(), func(f testnet.Frame) bool { return bytes.Equal(f.Data, frame) })
	}
	for n := shortest; n <= longest; n++ {
		frame := append(bytes.Clone(ethernet), bytes.Repeat([]byte{byte(n)}, n)...)
		// At first addresses are yet to be found, and frames are lost.
		for end := time.Now().Add(10 * time.Second); !arrived(frame); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("a frame with %d octets never came out of the tunnel; sender counted %s", n, printReasons(mustCount(t, sender, sender.Egress).Reasons))
			}
			if _, err := unix.Write(tunnel, frame); err != nil {
				t.Fatalf("%d octets: %v", n, err)
			}
		}
	}
	counted := mustCount(t, sender, sender.Egress).Reasons
	if counted[Failed] != 0 || counted[Funneled] <= longest-shortest || pushesDirectly() && counted[ToSegment] != 0 {
		t.Errorf("sender counted %s, want at least %d funneled, at once where the kernel allows it, and none failed", printReasons(counted), longest-shortest+1)
	}
	if got := mustCount(t, receiver, receiver.Ingress).Reasons[Unfunneled]; got <= longest-shortest {
		t.Errorf("%d packets were unfunneled, want at least %d", got, longest-shortest+1)
	}
}
