// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// tun is a layer 3 device of a namespace: its packets begin with the IP header.
// The test is what stands behind it.
func tun(t *testing.T, ns *testnet.Namespace, offloads int) *os.File {
	t.Helper()
	fd, err := -1, error(nil)
	ns.Do(func() { fd, err = openTun("tun0", offloads) })
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "tun")
	t.Cleanup(func() { f.Close() })
	ns.Run("ip", "addr", "add", "10.8.0.1/24", "dev", "tun0")
	ns.Run("ip", "link", "set", "tun0", "addrgenmode", "none", "up")
	return f
}

func openTun(name string, offloads int) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err == nil {
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloads)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

const vnetHeader = 10 // struct virtio_net_hdr, in front of each packet

// nextPacket returns the next IPv4 packet that leaves through the device.
func nextPacket(t *testing.T, tun *os.File) []byte {
	t.Helper()
	buffer := make([]byte, 65536)
	tun.SetReadDeadline(time.Now().Add(5 * time.Second))
	for {
		n, err := tun.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		if packet := buffer[vnetHeader:n]; packet[0]>>4 == 4 {
			return packet
		}
	}
}

func TestLayer3Device(t *testing.T) {
	const rules = "udp dport 4739 funnel tcp dport 179 sport 540"
	peer := netip.MustParseAddr("10.8.0.2")
	for _, c := range []struct {
		name     string
		offloads int
	}{
		{"whole checksums", 0},
		{"offloads", unix.TUN_F_CSUM | unix.TUN_F_TSO4},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns := testnet.NewNamespace(t, "layer3")
			s := &site{TB: t}
			device := tun(t, ns, c.offloads)
			a, b := segmentingDevice(ns)
			i := Interface{Index: ns.Index("tun0"), SegmentA: a, SegmentB: b}
			programs := mustLoadIn(t, ns, popRule(wire.UDP), rules, i)
			ns.Attach("tun0", testnet.Ingress, programs.Ingress)
			ns.Attach("tun0", testnet.Egress, programs.Egress)
			ns.Attach("sfnb", testnet.Ingress, programs.Segment)

			conn := s.dialUDP(ns, netip.AddrPortFrom(peer, 4739))
			conn.Write(numbered(1, 99))
			p, err := wire.Parse(nextPacket(t, device))
			if err != nil {
				t.Fatal(err)
			}
			if inner, err := p.Inner(wire.UDP); err != nil || !p.Magic || string(inner.Payload) != string(numbered(1, 99)) {
				t.Errorf("left as %+v, %v", p, err)
			}
			if got := mustCount(t, programs, programs.Egress).Reasons; got[ToSegment] != 0 && pushesDirectly() {
				t.Errorf("counted %s", printReasons(got))
			}

			server := s.listenUDP(ns, 4739)
			local := netip.MustParseAddr("10.8.0.1")
			d := wire.Segment{Protocol: wire.UDP, Source: 9, Dest: 4739, Payload: numbered(2, 77)}
			h := wire.IPv4{Protocol: wire.TCP, Source: peer, Dest: local}
			packet := h.Packet(wire.Pushed(wire.TCP, 540, 179, d, peer, local))
			if _, err := device.Write(append(make([]byte, vnetHeader), packet...)); err != nil {
				t.Fatal(err)
			}
			s.mustReceive(server, map[string]int{string(d.Payload): 1})
		})
	}
}

// TestHeadersOutsideTheLinearPart: large packets come in with their headers in
// a fragment list. The program sees none of them until it asks for them.
func TestHeadersOutsideTheLinearPart(t *testing.T) {
	ns := testnet.NewNamespace(t, "layer3")
	s := &site{TB: t}
	device := tun(t, ns, unix.TUN_F_CSUM)
	ns.Run("ip", "link", "set", "tun0", "mtu", "9000")
	programs := mustLoadIn(t, ns, popRule(wire.UDP), "", Interface{Index: ns.Index("tun0")})
	ns.Attach("tun0", testnet.Ingress, programs.Ingress)
	server := s.listenUDP(ns, 4739)
	peer, local := netip.MustParseAddr("10.8.0.2"), netip.MustParseAddr("10.8.0.1")
	for _, options := range [][]byte{nil, {1, 1, 1, 0}} {
		for linear := 1; linear < 80; linear++ {
			d := wire.Segment{Protocol: wire.UDP, Source: 9, Dest: 4739, Payload: numbered(linear, 5000+linear)}
			h := wire.IPv4{Protocol: wire.TCP, Source: peer, Dest: local, Options: options}
			packet := h.Packet(wire.Pushed(wire.TCP, 540, 179, d, peer, local))
			head := make([]byte, vnetHeader)
			head[2] = byte(linear) // hdr_len
			if _, err := device.Write(append(head, packet...)); err != nil {
				t.Fatal(err)
			}
			s.mustReceive(server, map[string]int{string(d.Payload): 1})
		}
	}
}

// TestLayer3DatagramTooBig goes the long way: segmenting device, answer, and
// back to the socket's error.
func TestLayer3DatagramTooBig(t *testing.T) {
	ns := testnet.NewNamespace(t, "layer3")
	s := &site{TB: t}
	tun(t, ns, unix.TUN_F_CSUM)
	a, b := segmentingDevice(ns)
	i := Interface{Index: ns.Index("tun0"), SegmentA: a, SegmentB: b}
	programs := mustLoadIn(t, ns, "", "udp dport 4739 funnel tcp dport 179 sport 540", i)
	ns.Attach("tun0", testnet.Ingress, programs.Ingress)
	ns.Attach("tun0", testnet.Egress, programs.Egress)
	ns.Attach("sfnb", testnet.Ingress, programs.Segment)
	conn := s.dialUDP(ns, netip.MustParseAddrPort("10.8.0.2:4739"), dontFrag)
	conn.Write(numbered(1, 1472))
	for range 100 {
		if _, err := conn.Write(numbered(2, 1472)); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("the socket was not told; counted %s", printReasons(mustCount(t, programs, programs.Egress).Reasons))
}
