// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// attachPeer attaches the one program of another implementation's object file to
// both hooks of both ends. Its rules are built in; README.md lists them.
func attachPeer(l *lab, object string) error {
	program, err := loadPeer(object)
	if err != nil {
		return fmt.Errorf("%s: %w", object, err)
	}
	defer program.Close()
	for _, namespace := range []string{l.client, l.server} {
		if err := inNamespace(namespace, func() error { return attachBoth(program) }); err != nil {
			return err
		}
	}
	return nil
}

func loadPeer(object string) (*ebpf.Program, error) {
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		return nil, err
	}
	if len(spec.Programs) != 1 {
		return nil, fmt.Errorf("%d programs, want 1", len(spec.Programs))
	}
	var name string
	for name = range spec.Programs {
		spec.Programs[name].Type = ebpf.SchedCLS
	}
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, err
	}
	defer collection.Close()
	return collection.DetachProgram(name), nil
}

func attachBoth(program *ebpf.Program) error {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	index := link.Attrs().Index
	errs := []error{netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}})}
	for _, hook := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		errs = append(errs, netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: index, Parent: hook, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL,
			},
			Fd: program.FD(), Name: "peer", DirectAction: true,
		}))
	}
	return errors.Join(errs...)
}
