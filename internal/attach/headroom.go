// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// measureHeadroom returns by how many bytes the largest packet that a local
// socket sends through a device stays below the device's MTU. Only IPv4 is
// looked at: IPv6 senders are always told when a packet is too big.
func measureHeadroom(d device) (int, error) {
	routes, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, 0)
	})
	if err != nil {
		return 0, fmt.Errorf("list routes: %w", err)
	}
	return headroom(d, routes), nil
}

// headroom is the pure part of measureHeadroom. A route without an MTU of its
// own has the device's; without any route there is no room that one could know
// of.
func headroom(d device, routes []netlink.Route) int {
	largest := 0
	for _, r := range routes {
		if r.Type != unix.RTN_UNICAST || !through(r, d.index) {
			continue
		}
		if r.MTU == 0 {
			return 0
		}
		largest = max(largest, min(r.MTU, d.mtu))
	}
	if largest == 0 {
		return 0
	}
	return d.mtu - largest
}

// through reports whether the route leaves by the device, alone or as one of
// several next hops.
func through(r netlink.Route, index int) bool {
	for _, hop := range r.MultiPath {
		if hop.LinkIndex == index {
			return true
		}
	}
	return r.LinkIndex == index
}
