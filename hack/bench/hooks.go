// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// attachEmpty shows what the hooks alone cost. Each has a program of its own, with
// statistics of its own.
func attachEmpty(l *lab, attachTo func(ingress, egress *ebpf.Program) error) error {
	for _, namespace := range []string{l.client, l.server} {
		ingress, err := emptyProgram()
		if err != nil {
			return err
		}
		defer ingress.Close()
		egress, err := emptyProgram()
		if err != nil {
			return err
		}
		defer egress.Close()
		err = inNamespace(namespace, func() error { return attachTo(ingress, egress) })
		if err != nil {
			return err
		}
	}
	return nil
}

// attachTCX puts programs on the hooks of the namespace's eth0 as tcx does, in front of
// all filters and without any (Linux 6.6).
func attachTCX(ingress, egress *ebpf.Program) error {
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	var errs []error
	for at, program := range map[ebpf.AttachType]*ebpf.Program{
		ebpf.AttachTCXIngress: ingress, ebpf.AttachTCXEgress: egress,
	} {
		errs = append(errs, link.RawAttachProgram(link.RawAttachProgramOptions{
			Target: eth0.Attrs().Index, Program: program, Attach: at,
		}))
	}
	return errors.Join(errs...)
}

// hasTCX reports whether the kernel has it.
func hasTCX() bool {
	_, err := link.QueryPrograms(link.QueryOptions{Target: 1, Attach: ebpf.AttachTCXIngress})
	return err == nil || errors.Is(err, unix.ENOENT)
}

// attachAsOurs puts programs on the hooks of the namespace's eth0 as the attacher does.
func attachAsOurs(ingress, egress *ebpf.Program) error {
	if hasTCX() {
		return attachTCX(ingress, egress)
	}
	return attachFilters(ingress, egress)
}

// attachFilters does that as the attacher does on kernels without tcx.
func attachFilters(ingress, egress *ebpf.Program) error { return attachHooks("bench", ingress, egress) }

// attachHooks puts filters on the hooks of the namespace's eth0.
func attachHooks(name string, ingress, egress *ebpf.Program) error {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	index := link.Attrs().Index
	errs := []error{netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}})}
	for hook, program := range map[uint32]*ebpf.Program{
		netlink.HANDLE_MIN_INGRESS: ingress, netlink.HANDLE_MIN_EGRESS: egress,
	} {
		errs = append(errs, netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: index, Parent: hook, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL,
			},
			Fd: program.FD(), Name: name, DirectAction: true,
		}))
	}
	return errors.Join(errs...)
}
