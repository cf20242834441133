// SPDX-License-Identifier: Apache-2.0

package testnet

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// Where an XDP program runs: in the kernel's receive path, which makes a packet
// one piece of memory for it, or in the device's driver.
const (
	XDPGeneric = nl.XDP_FLAGS_SKB_MODE
	XDPDriver  = nl.XDP_FLAGS_DRV_MODE
)

// PassXDP puts an XDP program on an interface that lets everything pass. It
// goes with the namespace.
func (ns *Namespace) PassXDP(device string, mode int) {
	ns.t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.XDP,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2 /* XDP_PASS */), asm.Return()},
		License:      "GPL",
	})
	if err != nil {
		ns.t.Fatal(err)
	}
	defer program.Close()
	ns.Do(func() {
		var link netlink.Link
		if link, err = netlink.LinkByName(device); err == nil {
			err = netlink.LinkSetXdpFdWithFlags(link, program.FD(), mode)
		}
	})
	if err != nil {
		ns.t.Fatalf("%s: XDP program on %s: %v", ns.Name, device, err)
	}
}
