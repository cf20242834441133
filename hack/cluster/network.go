// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// configureNetwork sets up this machine's interfaces and routes. The wires are
// there already.
func (m *machine) configureNetwork() error {
	if err := bringUp("lo"); err != nil {
		return err
	}
	for _, i := range m.Interfaces {
		if err := i.configure(); err != nil {
			return err
		}
	}
	for _, r := range m.Routes {
		if err := r.add(); err != nil {
			return err
		}
	}
	return nil
}

func (i networkInterface) configure() error {
	if len(i.Ports) > 0 {
		if err := makeBridge(i.Name, i.Ports); err != nil {
			return err
		}
	}
	link, err := netlink.LinkByName(i.Name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", i.Name, err)
	}
	for _, address := range i.Addresses {
		if err := addAddress(link, address); err != nil {
			return fmt.Errorf("interface %s: add %s: %w", i.Name, address, err)
		}
	}
	return bringUp(i.Name)
}

func makeBridge(name string, ports []string) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = name
	bridge := &netlink.Bridge{LinkAttrs: attributes}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("bridge %s: %w", name, err)
	}
	for _, port := range ports {
		link, err := netlink.LinkByName(port)
		if err != nil {
			return fmt.Errorf("bridge %s: port %s: %w", name, port, err)
		}
		if err := netlink.LinkSetMaster(link, bridge); err != nil {
			return fmt.Errorf("bridge %s: port %s: %w", name, port, err)
		}
		if err := bringUp(port); err != nil {
			return err
		}
	}
	return nil
}

// addAddress adds an address that is usable at once: nobody else can have it, so
// IPv6 need not look for duplicates.
func addAddress(link netlink.Link, address netip.Prefix) error {
	addr := &netlink.Addr{IPNet: ipNet(address)}
	if address.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return netlink.AddrAdd(link, addr)
}

func bringUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("interface %s: set up: %w", name, err)
	}
	return nil
}

func (r route) add() error {
	entry := &netlink.Route{Dst: ipNet(r.To)}
	if len(r.Via) == 1 {
		entry.Gw = r.Via[0].AsSlice()
	} else {
		for _, hop := range r.Via {
			entry.MultiPath = append(entry.MultiPath, &netlink.NexthopInfo{Gw: hop.AsSlice()})
		}
	}
	if err := netlink.RouteAdd(entry); err != nil {
		return fmt.Errorf("route to %s via %v: %w", r.To, r.Via, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
