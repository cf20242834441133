// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// routeOf makes a route to a prefix as the kernel tells it: struct rtmsg, then
// attributes. With several devices it has as many next hops.
func routeOf(kind, table byte, to string, mtu int, devices ...uint32) route {
	prefix := netip.MustParsePrefix(to)
	r := route{header: []byte{unix.AF_INET, byte(prefix.Bits()), 0, 0, table, 0, 0, kind, 0, 0, 0, 0}}
	if prefix.Addr().Is6() {
		r.header[0] = unix.AF_INET6
	}
	add := func(kind uint16, value []byte) { r.attributes = append(r.attributes, attribute{kind, value}) }
	add(unix.RTA_DST, prefix.Addr().AsSlice())
	if len(devices) == 1 {
		add(unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, devices[0]))
	} else {
		var hops []byte // struct rtnexthop
		for _, d := range devices {
			hops = binary.NativeEndian.AppendUint16(hops, unix.SizeofRtNexthop)
			hops = binary.NativeEndian.AppendUint32(append(hops, 0, 0), d)
		}
		add(unix.RTA_MULTIPATH, hops)
	}
	return r.withMTU(mtu)
}

func TestHeadroomIsWhatRoutesLeave(t *testing.T) {
	through := func(device uint32, mtu int) route {
		return routeOf(unix.RTN_UNICAST, unix.RT_TABLE_MAIN, "10.0.0.0/8", mtu, device)
	}
	to := func(prefix string, mtu int) route {
		return routeOf(unix.RTN_UNICAST, unix.RT_TABLE_MAIN, prefix, mtu, 2)
	}
	for name, c := range map[string]struct {
		routes []route
		want   int
	}{
		"no route":                {nil, 0},
		"route without MTU":       {[]route{through(2, 0)}, 0},
		"route with MTU":          {[]route{through(2, 1480)}, 20},
		"the largest counts":      {[]route{through(2, 1400), through(2, 1480)}, 20},
		"one without counts":      {[]route{through(2, 1400), through(2, 0)}, 0},
		"above the device":        {[]route{through(2, 9000)}, 0},
		"of another device":       {[]route{through(3, 0), through(2, 1480)}, 20},
		"local routes do not":     {[]route{routeOf(unix.RTN_LOCAL, unix.RT_TABLE_LOCAL, "10.0.0.1/32", 0, 2), through(2, 1480)}, 20},
		"one of several hops":     {[]route{routeOf(unix.RTN_UNICAST, unix.RT_TABLE_MAIN, "10.0.0.0/8", 1400, 9, 2)}, 100},
		"only other's routes":     {[]route{through(3, 1400)}, 0},
		"MTU of the interface":    {[]route{through(2, 1500)}, 0},
		"IPv6 alone":              {[]route{to("2001:db8::/64", 1480), to("::/0", 1480)}, 20},
		"IPv6 beside IPv4":        {[]route{through(2, 1480), to("::/0", 0)}, 0},
		"link-local do not":       {[]route{to("fe80::/64", 0), to("::/0", 1480)}, 20},
		"of other tables, too":    {[]route{through(2, 1480), routeOf(unix.RTN_UNICAST, 100, "10.0.0.0/8", 0, 2)}, 0},
		"multicast of the kernel": {[]route{routeOf(unix.RTN_MULTICAST, unix.RT_TABLE_LOCAL, "ff00::/8", 0, 2), to("::/0", 1480)}, 20},
	} {
		if got := headroom(device{index: 2, mtu: 1500}, c.routes); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
