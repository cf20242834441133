// SPDX-License-Identifier: Apache-2.0

package smoke

import (
	"os"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

const (
	actUnspec = -1
	actShot   = 2

	droppedPort = 9 // destination port that the program drops, UDP
	portOffset  = 14 + 20 + 2
)

func requireRoot(t *testing.T) {
	t.Helper()
	testnet.RequireRoot(t)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
}

// mustDropper loads a TC program that drops IPv4 packets without options whose
// destination port is droppedPort, and counts in verdicts[0] what it passed and
// in verdicts[1] what it dropped.
func mustDropper(t *testing.T) (program *ebpf.Program, verdicts *ebpf.Map) {
	t.Helper()
	verdicts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { verdicts.Close() })
	program, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "smoke_dropper", Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.Mov.Imm(asm.R7, 0),
			asm.LoadMem(asm.R2, asm.R6, 76, asm.Word), // __sk_buff.data
			asm.LoadMem(asm.R3, asm.R6, 80, asm.Word), // __sk_buff.data_end
			asm.Mov.Reg(asm.R4, asm.R2),
			asm.Add.Imm(asm.R4, portOffset+2),
			asm.JGT.Reg(asm.R4, asm.R3, "count"),
			asm.LoadMem(asm.R5, asm.R2, portOffset, asm.Half),
			asm.HostTo(asm.BE, asm.R5, asm.Half),
			asm.JNE.Imm(asm.R5, droppedPort, "count"),
			asm.Mov.Imm(asm.R7, 1),
			asm.StoreMem(asm.RFP, -4, asm.R7, asm.Word).WithSymbol("count"),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.LoadMapPtr(asm.R1, verdicts.FD()),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "pass"),
			asm.Mov.Imm(asm.R1, 1),
			asm.AddAtomic.Mem(asm.R0, asm.R1, asm.DWord, 0),
			asm.JEq.Imm(asm.R7, 0, "pass"),
			asm.Mov.Imm(asm.R0, actShot),
			asm.Return(),
			asm.Mov.Imm(asm.R0, actUnspec).WithSymbol("pass"),
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { program.Close() })
	return program, verdicts
}

// mustCounts reads how many packets passed and how many were dropped.
func mustCounts(t *testing.T, verdicts *ebpf.Map) (passed, dropped uint64) {
	t.Helper()
	for index, value := range []*uint64{&passed, &dropped} {
		if err := verdicts.Lookup(uint32(index), value); err != nil {
			t.Fatal(err)
		}
	}
	return passed, dropped
}

// frame is an Ethernet frame with an IPv4 UDP packet to port, from 10.0.0.1 to
// 10.0.0.2 and to no MAC address in particular.
func frame(port byte) []byte {
	packet := make([]byte, 14+20+8+18)
	packet[12], packet[13] = 0x08, 0x00
	copy(packet[14:], []byte{0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0x66, 0xbd, 10, 0, 0, 1, 10, 0, 0, 2})
	copy(packet[34:], []byte{0x30, 0x39, 0, port, 0, 26, 0, 0})
	return packet
}

func TestProgramRuns(t *testing.T) {
	requireRoot(t)
	program, verdicts := mustDropper(t)
	for _, run := range []struct {
		port byte
		want int32
	}{{droppedPort, actShot}, {53, actUnspec}} {
		got, err := program.Run(&ebpf.RunOptions{Data: frame(run.port)})
		if err != nil {
			t.Fatal(err)
		}
		if int32(got) != run.want {
			t.Errorf("port %d: the program returned %d, want %d", run.port, int32(got), run.want)
		}
	}
	if passed, dropped := mustCounts(t, verdicts); passed != 1 || dropped != 1 {
		t.Errorf("counted %d passed and %d dropped, want 1 and 1", passed, dropped)
	}
}

func TestFilterDropsOnVeth(t *testing.T) {
	requireRoot(t)
	enterNamespace(t)
	near, far := mustVeth(t)
	program, verdicts := mustDropper(t)
	mustAttach(t, far, program)

	received := mustPacketSocket(t, far)
	sender := mustPacketSocket(t, near)
	before, _ := mustCounts(t, verdicts)
	for _, port := range []byte{droppedPort, 53} {
		if err := unix.Send(sender, frame(port), 0); err != nil {
			t.Fatal(err)
		}
	}
	passed, dropped := mustCounts(t, verdicts)
	if passed-before != 1 || dropped != 1 {
		t.Errorf("counted %d passed and %d dropped, want 1 and 1", passed-before, dropped)
	}
	// A packet socket for one protocol stands behind the filter.
	if got := mustReceive(t, received); got[portOffset+1] != 53 {
		t.Errorf("received port %d first, want 53: the other one is dropped", got[portOffset+1])
	}
}

// enterNamespace moves the test to a network namespace of its own; the
// namespace goes with the thread that the test was locked to.
func enterNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	handle, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { handle.Close() })
}

// mustVeth makes a pair of devices without IPv6, so that nothing but the test
// sends on them.
func mustVeth(t *testing.T) (near, far netlink.Link) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "smoke0"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "smoke1"}); err != nil {
		t.Fatal(err)
	}
	for name, link := range map[string]*netlink.Link{"smoke0": &near, "smoke1": &far} {
		noIPv6 := "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6"
		if err := os.WriteFile(noIPv6, []byte("1"), 0); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		found, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(found); err != nil {
			t.Fatal(err)
		}
		*link = found
	}
	return near, far
}

func mustAttach(t *testing.T, link netlink.Link, program *ebpf.Program) {
	t.Helper()
	index := link.Attrs().Index
	err := netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}})
	if err != nil {
		t.Fatal("add clsact:", err)
	}
	err = netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL,
		},
		Fd: program.FD(), Name: "smoke", DirectAction: true,
	})
	if err != nil {
		t.Fatal("add filter:", err)
	}
}

func mustPacketSocket(t *testing.T, link netlink.Link) int {
	t.Helper()
	const ip = 0x0008 // ETH_P_IP in network byte order
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, ip)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(socket) })
	if err := unix.Bind(socket, &unix.SockaddrLinklayer{Protocol: ip, Ifindex: link.Attrs().Index}); err != nil {
		t.Fatal(err)
	}
	return socket
}

func mustReceive(t *testing.T, socket int) []byte {
	t.Helper()
	timeout := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 2048)
	size, _, err := unix.Recvfrom(socket, buffer, 0)
	if err != nil {
		t.Fatal(err)
	}
	return buffer[:size]
}
