// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// rtaNhID is RTA_NH_ID of include/uapi/linux/rtnetlink.h.
const rtaNhID = 30

// minMTU6 is the smallest MTU of IPv6 (RFC 8200 section 5).
const minMTU6 = 1280

// changeRoutes gives every route through a device, of both families and all
// tables but local, the MTU that to makes of its own, and returns how to undo
// that. 0 is a route without an MTU. What else the route has stays.
//
// The kernel finds the route to replace by destination, table and priority. Where
// another one has the same, it could take that one for it, and the route is left
// alone; so are those to link-local addresses, which every device has.
func changeRoutes(d device, to func(family uint8, mtu int) int) (func() error, error) {
	var changed undo
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := dumpRoutes(family)
		if err != nil {
			return changed.run, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if !r.leavesBy(d.index) || r.toLinkLocal() || hasTwin(routes, r) {
				continue
			}
			mtu := to(uint8(family), r.mtu())
			if mtu == r.mtu() {
				continue
			}
			if err := r.withMTU(mtu).replace(); err != nil {
				return changed.run, fmt.Errorf("set the MTU of a route to %d: %w", mtu, err)
			}
			changed.add(r.replace)
		}
	}
	return changed.run, nil
}

// route is a route as the kernel describes it: struct rtmsg and its attributes.
// Package netlink's own form leaves some of them out.
type route struct {
	header     []byte
	attributes []attribute
}

type attribute struct {
	kind  uint16
	value []byte
}

func dumpRoutes(family int) ([]route, error) {
	messages, err := dump(func() ([][]byte, error) {
		request := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
		request.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: uint8(family)}})
		return request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	})
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // a kernel without IPv6
	}
	if err != nil {
		return nil, err
	}
	routes := make([]route, len(messages))
	for i, m := range messages {
		if routes[i], err = parseRoute(m); err != nil {
			return nil, err
		}
	}
	return routes, nil
}

func parseRoute(message []byte) (route, error) {
	if len(message) < unix.SizeofRtMsg {
		return route{}, fmt.Errorf("a route of %d bytes", len(message))
	}
	attributes, err := parseAttributes(message[unix.SizeofRtMsg:])
	return route{message[:unix.SizeofRtMsg], attributes}, err
}

func parseAttributes(b []byte) ([]attribute, error) {
	parsed, err := nl.ParseRouteAttr(b)
	var attributes []attribute
	for _, a := range parsed {
		attributes = append(attributes, attribute{a.Attr.Type &^ unix.NLA_F_NESTED, a.Value})
	}
	return attributes, err
}

// find returns the value of an attribute, or nil.
func (r route) find(kind uint16) []byte {
	return valueOf(r.attributes, kind)
}

func valueOf(attributes []attribute, kind uint16) []byte {
	for _, a := range attributes {
		if a.kind == kind {
			return a.value
		}
	}
	return nil
}

// number reads a value of 32 bits; 0 stands for a value that is missing.
func number(value []byte) uint32 {
	if len(value) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(value)
}

// leavesBy reports whether the route is one for packets that leave by a device,
// by it alone or among others.
func (r route) leavesBy(index int) bool {
	header := nl.DeserializeRtMsg(r.header)
	if header.Type != unix.RTN_UNICAST || header.Flags&unix.RTM_F_CLONED != 0 || r.table() == unix.RT_TABLE_LOCAL {
		return false
	}
	if int(number(r.find(unix.RTA_OIF))) == index {
		return true
	}
	hops := slices.Clone(r.find(unix.RTA_MULTIPATH))
	for len(hops) >= unix.SizeofRtNexthop {
		length := int(binary.NativeEndian.Uint16(hops))
		if int(number(hops[4:])) == index {
			return true
		}
		hops = hops[min(len(hops), max(length, unix.SizeofRtNexthop)):]
	}
	return false
}

// toLinkLocal reports whether the route is for IPv6 link-local addresses.
func (r route) toLinkLocal() bool {
	to := r.find(unix.RTA_DST)
	return r.header[0] == unix.AF_INET6 && len(to) == 16 && to[0] == 0xfe && to[1]&0xc0 == 0x80
}

// hasTwin reports whether the kernel could take another route for this one.
func hasTwin(routes []route, r route) bool {
	found := 0
	for _, other := range routes {
		if other.key() == r.key() {
			found++
		}
	}
	return found > 1
}

// key is by what the kernel finds a route.
func (r route) key() string {
	return fmt.Sprintf("%x %d %x %x %d", r.header[:4], r.table(), r.find(unix.RTA_DST), r.find(unix.RTA_SRC), number(r.find(unix.RTA_PRIORITY)))
}

func (r route) table() uint32 {
	if table := r.find(unix.RTA_TABLE); table != nil {
		return number(table)
	}
	return uint32(nl.DeserializeRtMsg(r.header).Table)
}

func (r route) mtu() int {
	metrics, err := parseAttributes(r.find(unix.RTA_METRICS))
	if err != nil {
		return 0
	}
	return int(number(valueOf(metrics, unix.RTAX_MTU)))
}

// withMTU returns the route with another MTU; 0 takes it away.
func (r route) withMTU(mtu int) route {
	metrics, _ := parseAttributes(r.find(unix.RTA_METRICS))
	metrics = without(metrics, unix.RTAX_MTU)
	if mtu > 0 {
		metrics = append(metrics, attribute{unix.RTAX_MTU, binary.NativeEndian.AppendUint32(nil, uint32(mtu))})
	}
	changed := route{r.header, without(r.attributes, unix.RTA_METRICS)}
	nested := nl.NewRtAttr(unix.RTA_METRICS, nil)
	for _, m := range metrics {
		nested.AddRtAttr(int(m.kind), m.value)
	}
	changed.attributes = append(changed.attributes, attribute{unix.RTA_METRICS, nested.Serialize()[unix.SizeofRtAttr:]})
	return changed
}

func without(attributes []attribute, kinds ...uint16) []attribute {
	return slices.DeleteFunc(slices.Clone(attributes), func(a attribute) bool { return slices.Contains(kinds, a.kind) })
}

// replace puts the route in place of the one with its destination, table and
// priority. What the kernel tells of a route and does not take back is left out:
// flags of its state, and next hops that it knows by the id of an object.
func (r route) replace() error {
	header := nl.DeserializeRtMsg(slices.Clone(r.header))
	header.Flags &= unix.RTNH_F_ONLINK
	request := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	request.AddData(header)
	attributes := without(r.attributes, unix.RTA_CACHEINFO)
	if r.find(rtaNhID) != nil {
		attributes = without(attributes, unix.RTA_OIF, unix.RTA_GATEWAY, unix.RTA_VIA, unix.RTA_MULTIPATH)
	}
	for _, a := range attributes {
		value := a.value
		if a.kind == unix.RTA_MULTIPATH {
			value = stateless(value)
		}
		request.AddData(nl.NewRtAttr(int(a.kind), value))
	}
	if r.find(unix.RTA_METRICS) == nil {
		// Without any, a next hop object would lend the metrics of an earlier route.
		request.AddData(nl.NewRtAttr(unix.RTA_METRICS, nil))
	}
	if seconds := r.expires(); seconds > 0 {
		request.AddData(nl.NewRtAttr(unix.RTA_EXPIRES, binary.NativeEndian.AppendUint32(nil, seconds)))
	}
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) {
		return nil // gone meanwhile
	}
	return err
}

// stateless clears the flags of next hops that tell their state.
func stateless(hops []byte) []byte {
	hops = slices.Clone(hops)
	for rest := hops; len(rest) >= unix.SizeofRtNexthop; {
		length := int(binary.NativeEndian.Uint16(rest))
		rest[2] &= unix.RTNH_F_ONLINK
		rest = rest[min(len(rest), max(length, unix.SizeofRtNexthop)):]
	}
	return hops
}

// ticksPerSecond is USER_HZ, in which the kernel tells times.
const ticksPerSecond = 100

// expires returns after how many seconds the route goes by itself; 0: never.
// Routes from router advertisements do.
func (r route) expires() uint32 {
	info := r.find(unix.RTA_CACHEINFO)
	if len(info) < 12 || r.header[0] != unix.AF_INET6 {
		return 0
	}
	left := int32(number(info[8:])) // struct rta_cacheinfo: clntref, lastuse, expires
	if left <= 0 {
		return 0
	}
	return max(1, uint32(left)/ticksPerSecond)
}

// reservation is what a device's routes leave free for headers, before a call
// and after it, in bytes.
type reservation struct{ before, wanted int }

// mtu is the MTU of a route through a device of that MTU, which had another one
// so far. One that an earlier call set is told by its number alone.
func (r reservation) mtu(device int, family uint8, mtu int) int {
	limit := func(bytes int) int {
		if bytes == 0 || family == unix.AF_INET6 && device-bytes < minMTU6 {
			return 0
		}
		return device - bytes
	}
	if r.before > 0 && mtu == limit(r.before) {
		mtu = 0
	}
	if limit := limit(r.wanted); limit > 0 && (mtu == 0 || mtu > limit) {
		return limit
	}
	return mtu
}

// reserve makes the room that is wanted and gives back the room that is not.
func (r reservation) reserve(d device) (func() error, error) {
	if r.before == 0 && r.wanted == 0 {
		return nil, nil
	}
	return changeRoutes(d, func(family uint8, mtu int) int { return r.mtu(d.mtu, family, mtu) })
}

// reserved returns the room that our filter on egress says is reserved.
func reserved(link netlink.Link) (int, error) {
	programs, err := ownPrograms(link, Egress)
	most := 0
	for _, p := range programs {
		most = max(most, p.name.Reserved)
	}
	return most, err
}
