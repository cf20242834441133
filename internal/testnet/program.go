// SPDX-License-Identifier: Apache-2.0

package testnet

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The hooks of an interface for TC programs.
const (
	Ingress = netlink.HANDLE_MIN_INGRESS
	Egress  = netlink.HANDLE_MIN_EGRESS
)

// Attach puts a program on a hook of an interface, nothing more: no
// replacing, no bookkeeping. It goes with the namespace.
func (ns *Namespace) Attach(device string, hook uint32, program *ebpf.Program) {
	ns.t.Helper()
	var err error
	ns.Do(func() { err = attach(device, hook, program) })
	if err != nil {
		ns.t.Fatalf("attach to %s: %v", device, err)
	}
}

func attach(device string, hook uint32, program *ebpf.Program) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	index := link.Attrs().Index
	err = netlink.QdiscReplace(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	})
	if err != nil {
		return fmt.Errorf("clsact: %w", err)
	}
	return netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs:  netlink.FilterAttrs{LinkIndex: index, Parent: hook, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
		Fd:           program.FD(),
		Name:         "test",
		DirectAction: true,
	})
}

// Index returns the index of an interface of the namespace.
func (ns *Namespace) Index(device string) int {
	ns.t.Helper()
	var link netlink.Link
	var err error
	ns.Do(func() { link, err = netlink.LinkByName(device) })
	if err != nil {
		ns.t.Fatalf("%s: %v", device, err)
	}
	return link.Attrs().Index
}
