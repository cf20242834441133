// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// counter counts the IPv4 packets that arrive at an interface by protocol, in
// the kernel, so that none is missed.
type counter struct{ counts *ebpf.Map }

func countArrivals(t *testing.T, l netlink.Link) counter {
	t.Helper()
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 256})
	must(t, err)
	t.Cleanup(func() { counts.Close() })
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "arrivals", Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadAbs(14+9, asm.Byte), // the protocol of an IPv4 packet in an Ethernet frame
		asm.StoreMem(asm.RFP, -4, asm.R0, asm.Word),
		asm.LoadMapPtr(asm.R1, counts.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 2).WithSymbol("out"), // TC_ACT_SHOT: nobody answers
		asm.Return(),
	}})
	must(t, err)
	t.Cleanup(func() { program.Close() })
	_, err = ensureClsact(l)
	must(t, err)
	must(t, netlink.FilterAdd(newFilter(l, Ingress, program.FD(), "arrivals")))
	return counter{counts}
}

func (c counter) of(t *testing.T, protocol uint32) uint64 {
	t.Helper()
	var n uint64
	must(t, c.counts.Lookup(protocol, &n))
	return n
}

// neighbour tells the kernel where an address is, so that it need not ask.
func neighbour(t *testing.T, l netlink.Link, address string) {
	t.Helper()
	must(t, netlink.NeighSet(&netlink.Neigh{
		LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.ParseIP(address),
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1},
	}))
}

// TestReplaceUnderLoadLosesNothing sends through an interface while the rules
// are replaced again and again. Every packet must arrive, and arrive funneled. One
// that meets the rules twice is dropped by the last of them.
func TestReplaceUnderLoadLosesNothing(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		newNamespace(t)
		l := ethernet(t, "eth0", "10.0.0.1/24")
		neighbour(t, l, "10.0.0.2")
		arrived := countArrivals(t, mustLink(t, "eth0p"))
		const twice = funnelText + "; tcp dport 179 drop"
		variants := []Options{options(t, "", twice, "eth0"), options(t, "", "udp dport 53 drop; "+twice, "eth0")}
		mustAttach(t, variants[0])

		conn, err := net.Dial("udp4", "10.0.0.2:2055")
		must(t, err)
		defer conn.Close()
		var sent atomic.Uint64
		stop, done := make(chan struct{}), make(chan error)
		go func() { done <- flood(conn, &sent, stop) }()
		replacements := 50
		if testing.Short() {
			replacements = 4
		}
		for i := range replacements {
			mustAttach(t, variants[i%2])
		}
		close(stop)
		must(t, <-done)

		funneled, plain := arrived.of(t, unix.IPPROTO_TCP), arrived.of(t, unix.IPPROTO_UDP)
		t.Logf("%d packets during %d replacements", sent.Load(), replacements)
		if funneled != sent.Load() || plain != 0 {
			t.Errorf("%d sent, %d arrived funneled and %d as they were", sent.Load(), funneled, plain)
		}
	})
}

// flood sends small bursts, so that no queue overflows, until it is told to
// stop.
func flood(conn net.Conn, sent *atomic.Uint64, stop chan struct{}) error {
	for {
		for range 16 {
			if _, err := conn.Write([]byte("flow record")); err != nil {
				return err
			}
			sent.Add(1)
		}
		select {
		case <-stop:
			return nil
		case <-time.After(200 * time.Microsecond):
		}
	}
}

// vnetHeader is the length of what a tun file has in front of packets when the
// interface offloads checksums: struct virtio_net_hdr.
const vnetHeader = 10

// tun adds an interface without Ethernet headers; what it sends is read from the
// file, what is written to the file it receives, behind a header of vnetHeader
// bytes when it offloads checksums.
func tun(t *testing.T, name, address string, offload bool) *os.File {
	t.Helper()
	a := netlink.NewLinkAttrs()
	a.Name = name
	device := &netlink.Tuntap{
		LinkAttrs: a, Mode: netlink.TUNTAP_MODE_TUN, Queues: 1, NonPersist: true,
		Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_ONE_QUEUE,
	}
	if offload {
		device.Flags |= netlink.TUNTAP_VNET_HDR
	}
	must(t, netlink.LinkAdd(device))
	file := device.Fds[0]
	t.Cleanup(func() { file.Close() })
	if offload {
		raw, err := file.SyscallConn()
		must(t, err)
		must(t, raw.Control(func(fd uintptr) { err = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, unix.TUN_F_CSUM) }))
		must(t, err)
	}
	l := mustLink(t, name)
	up(t, l)
	addAddress(t, l, address)
	return file
}

// With checksum offload every packet goes through the segmenting device.
func TestAnInterfaceWithoutEthernetHeadersIsFunneled(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		funnelThroughTun(t, false)
	})
}

func TestAnInterfaceWithoutEthernetHeadersThatOffloadsIsFunneled(t *testing.T) {
	funnelThroughTun(t, true)
}

func funnelThroughTun(t *testing.T, offload bool) {
	newNamespace(t)
	file := tun(t, "tun0", "10.0.0.1/24", offload)
	var head []byte
	if offload {
		head = make([]byte, vnetHeader)
	}
	mustAttach(t, options(t, unfunnelText, funnelText, "tun0"))

	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 2055})
	must(t, err)
	defer socket.Close()
	_, err = socket.WriteTo([]byte("flow record"), &net.UDPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 2055})
	must(t, err)
	packet := readIPv4(t, file, len(head))
	if packet[9] != unix.IPPROTO_TCP || binary.BigEndian.Uint32(packet[20:]) != 540<<16|179 ||
		!bytes.Equal(packet[40:44], []byte{2055 >> 8, 2055 & 255, 2055 >> 8, 2055 & 255}) {
		t.Fatalf("on the wire: %x", packet)
	}

	// Sent back to where it came from, it must pass the socket's checksum.
	swapped := append(append(append(head, packet[:12]...), packet[16:20]...), packet[12:16]...)
	_, err = file.Write(append(swapped, packet[20:]...))
	must(t, err)
	must(t, socket.SetReadDeadline(time.Now().Add(10*time.Second)))
	buffer := make([]byte, 100)
	n, from, err := socket.ReadFrom(buffer)
	if err != nil || string(buffer[:n]) != "flow record" || from.String() != "10.0.0.2:2055" {
		t.Errorf("received %q from %v, %v", buffer[:n], from, err)
	}
}

// readIPv4 returns the next IPv4 packet of UDP or TCP, without what stands in
// front of it in the file.
func readIPv4(t *testing.T, file *os.File, skip int) []byte {
	t.Helper()
	must(t, file.SetReadDeadline(time.Now().Add(10*time.Second)))
	for {
		buffer := make([]byte, 2000)
		n, err := file.Read(buffer)
		must(t, err)
		packet := buffer[min(skip, n):n]
		if len(packet) >= 44 && packet[0] == 0x45 && (packet[9] == unix.IPPROTO_TCP || packet[9] == unix.IPPROTO_UDP) {
			return packet
		}
	}
}
