// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// TestFramesShorterThanTheirHeaders sends what program runs can't: frames that
// end within the Ethernet payload's first octets, over a real interface.
func TestFramesShorterThanTheirHeaders(t *testing.T) {
	s := newSite(t)
	programs := s.funnel(s.router, "c0", unfunnelEverything, "")
	packet := s.packetSocket("eth0")
	whole := makePair(wire.UDP, wire.TCP, 24, nil).plain
	sent := 0
	for n := 15; n < len(whole); n++ {
		if _, err := unix.Write(packet, whole[:n]); err != nil {
			t.Fatalf("%d octets: %v", n, err)
		}
		sent++
	}
	reasons := mustCount(t, programs, programs.Ingress).Reasons
	for end := time.Now().Add(5 * time.Second); sum(reasons) < sent && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		reasons = mustCount(t, programs, programs.Ingress).Reasons
	}
	// An IP header needs 20 octets; behind it the total length is too large.
	if reasons[Short] != 19 || reasons[BadLength] != uint64(sent-19) {
		t.Errorf("%d sent, counted %s", sent, printReasons(reasons))
	}
}

func sum(reasons map[Reason]uint64) (all int) {
	for r, n := range reasons {
		if r == Short || r == BadLength {
			all += int(n)
		}
	}
	return all
}

// packetSocket sends frames as they are through an interface of the client.
func (s *site) packetSocket(device string) int {
	s.Helper()
	fd, err := -1, error(nil)
	index := s.client.Index(device)
	s.client.Do(func() {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 8, Ifindex: index}) // ETH_P_IP in network order
		}
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { unix.Close(fd) })
	return fd
}
