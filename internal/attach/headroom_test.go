// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestHeadroomIsWhatRoutesLeave(t *testing.T) {
	route := func(index, mtu int) netlink.Route {
		return netlink.Route{LinkIndex: index, MTU: mtu, Type: unix.RTN_UNICAST}
	}
	local := netlink.Route{LinkIndex: 2, Type: unix.RTN_LOCAL}
	hops := netlink.Route{MTU: 1400, Type: unix.RTN_UNICAST, MultiPath: []*netlink.NexthopInfo{{LinkIndex: 9}, {LinkIndex: 2}}}
	for name, c := range map[string]struct {
		routes []netlink.Route
		want   int
	}{
		"no route":             {nil, 0},
		"route without MTU":    {[]netlink.Route{route(2, 0)}, 0},
		"route with MTU":       {[]netlink.Route{route(2, 1480)}, 20},
		"the largest counts":   {[]netlink.Route{route(2, 1400), route(2, 1480)}, 20},
		"one without counts":   {[]netlink.Route{route(2, 1400), route(2, 0)}, 0},
		"above the device":     {[]netlink.Route{route(2, 9000)}, 0},
		"of another device":    {[]netlink.Route{route(3, 0), route(2, 1480)}, 20},
		"local routes do not":  {[]netlink.Route{local, route(2, 1480)}, 20},
		"one of several hops":  {[]netlink.Route{hops}, 100},
		"only other's routes":  {[]netlink.Route{route(3, 1400)}, 0},
		"MTU of the interface": {[]netlink.Route{route(2, 1500)}, 0},
	} {
		if got := headroom(device{index: 2, mtu: 1500}, c.routes); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
