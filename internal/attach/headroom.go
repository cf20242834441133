// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// measureHeadroom returns by how many bytes the largest packet that a local
// socket sends through a device stays below the device's MTU, by the routes that
// changeRoutes would make smaller and those that it leaves alone.
func measureHeadroom(d device) (int, error) {
	var all []route
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := dumpRoutes(family)
		if err != nil {
			return 0, fmt.Errorf("list routes: %w", err)
		}
		all = append(all, routes...)
	}
	return headroom(d, all), nil
}

// headroom is the pure part of measureHeadroom. A route without an MTU of its
// own has the device's; without any route there is no room that one could know
// of. Routes to link-local addresses, which every device has, don't count.
func headroom(d device, routes []route) int {
	through := slices.DeleteFunc(slices.Clone(routes), func(r route) bool { return !r.leavesBy(d.index) || r.toLinkLocal() })
	largest := 0
	for _, r := range through {
		if r.mtu() == 0 {
			return 0
		}
		largest = max(largest, min(r.mtu(), d.mtu))
	}
	if largest == 0 {
		return 0
	}
	return d.mtu - largest
}
