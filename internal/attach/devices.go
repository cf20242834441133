// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// device is what the choice of interfaces needs to know of one.
type device struct {
	index, mtu int
	name       string
	aliases    []string // alternative names
	up         bool
	loopback   bool
	addressed  bool   // has an address that was not made up from its hardware address
	ethernet   bool   // packets begin with an Ethernet header
	header     string // what packets begin with, if it is neither an Ethernet nor an IP header
	bypassed   bool   // what arrives does not pass its ingress hook
	master     int    // index of the device that it is enslaved to, or 0
	lower      int    // index of the device in this namespace that it sits on, or 0
}

// ours reports whether the device is an end of a segmenting device.
func (d device) ours() bool {
	_, _, ok := parseSegmentName(d.name)
	return ok
}

func (d device) named(name string) bool {
	return d.name == name || slices.Contains(d.aliases, name)
}

// isDefault says whether rules that name no interface hold for the device.
func (d device) isDefault() bool {
	return d.up && d.addressed && !d.loopback && d.master == 0 && d.header == "" && !d.ours()
}

// listDevices returns the devices of the network namespace by index.
func listDevices() ([]device, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	addresses, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	addressed := map[int]bool{}
	for _, a := range addresses {
		addressed[a.LinkIndex] = addressed[a.LinkIndex] || assigned(a.IP)
	}
	devices := make([]device, len(links))
	for i, l := range links {
		devices[i] = describe(l)
		devices[i].addressed = addressed[devices[i].index]
	}
	slices.SortFunc(devices, func(a, b device) int { return a.index - b.index })
	return devices, nil
}

// assigned leaves out the IPv6 link-local addresses that every interface which
// is up gives itself.
func assigned(ip net.IP) bool {
	return ip.To4() != nil || !ip.IsLinkLocalUnicast()
}

func describe(l netlink.Link) device {
	a := l.Attrs()
	return device{
		index: a.Index, mtu: a.MTU, name: a.Name, aliases: a.AltNames,
		up:       a.Flags&net.FlagUp != 0,
		loopback: a.Flags&net.FlagLoopback != 0,
		ethernet: a.EncapType == "ether" || a.EncapType == "loopback",
		header:   otherHeader(l),
		bypassed: bypassed(l),
		master:   a.MasterIndex,
		lower:    lowerOf(l),
	}
}

// otherHeader returns the kind of header that the packets of a link begin with if that is
// neither Ethernet nor IP, by the names that the library has for the types of
// include/uapi/linux/if_arp.h. A GRE device that has not just one remote puts the outer header
// in front.
func otherHeader(l netlink.Link) string {
	switch kind := l.Attrs().EncapType; kind {
	case "ether", "loopback":
		return ""
	case "none", "ppp", "ipip", "tunnel6", "sit", "unknown519": // ARPHRD_RAWIP
		return ""
	case "gre", "unknown823": // ARPHRD_IP6GRE
		if g, ok := l.(*netlink.Gretun); ok && !g.FlowBased && (g.Remote.IsUnspecified() || g.Remote.IsMulticast()) {
			return "GRE"
		}
		return ""
	default:
		return kind
	}
}

// bypassed reports whether the link is an ipvlan in mode l3s. What arrives for one stays the
// lower device's until the host's IP stack has seen it (drivers/net/ipvlan/ipvlan_l3s.c).
func bypassed(l netlink.Link) bool {
	switch l := l.(type) {
	case *netlink.IPVlan:
		return l.Mode == netlink.IPVLAN_MODE_L3S
	case *netlink.IPVtap:
		return l.Mode == netlink.IPVLAN_MODE_L3S
	}
	return false
}

// lowerOf returns the index of the device in the same namespace whose packets
// also are the link's, or 0. Of a veth device the kernel names the peer, of a
// tunnel the device that carries its outer packets: neither is meant.
func lowerOf(l netlink.Link) int {
	if l.Attrs().NetNsID >= 0 {
		return 0
	}
	switch l.Type() {
	case "vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec":
		return l.Attrs().ParentIndex
	}
	return 0
}

// MissingError says that interfaces are not there; they may come yet.
type MissingError struct {
	// Names of the interfaces; empty when there is no default interface.
	Names []string
	// Present are the names of those that are there.
	Present []string
}

// Error names what is missing and what is there.
func (e *MissingError) Error() string {
	there := "there are: " + strings.Join(e.Present, ", ")
	if len(e.Names) == 0 {
		return "no interface to attach to: none but loopback is up, has an address, is not enslaved and has packets that begin with an Ethernet or IP header (" + there + ")"
	}
	return fmt.Sprintf("no interface %s (%s)", strings.Join(e.Names, ", "), there)
}

// noDefault returns the error for rules that name no interface, where no device is a
// default one.
func noDefault(devices []device) *MissingError {
	e := &MissingError{}
	for _, d := range devices {
		e.Present = append(e.Present, d.name)
	}
	return e
}

// missing returns the error for the names that no device has.
func missing(devices []device, names []string) error {
	e := noDefault(devices)
	for _, name := range names {
		if find(devices, name) == nil && !slices.Contains(e.Names, name) {
			e.Names = append(e.Names, name)
		}
	}
	if len(e.Names) == 0 {
		return nil
	}
	return e
}

func find(devices []device, name string) *device {
	for i := range devices {
		if devices[i].named(name) {
			return &devices[i]
		}
	}
	return nil
}

// checkStack refuses a device below another chosen one: its packets would meet
// the rules twice.
func checkStack(devices, chosen []device) error {
	for _, upper := range chosen {
		for _, lower := range below(devices, upper.index) {
			if i := slices.IndexFunc(chosen, func(d device) bool { return d.index == lower }); i >= 0 {
				return fmt.Errorf("interface %s lies below %s: packets would meet the rules twice; name one of them", chosen[i].name, upper.name)
			}
		}
	}
	return nil
}

// below returns the indexes of all devices under the one with that index.
func below(devices []device, upper int) []int {
	var found []int
	visit := []int{upper}
	for len(visit) > 0 {
		top := visit[0]
		visit = visit[1:]
		for _, d := range devices {
			isLower := d.master == top || d.index == lowerIndex(devices, top)
			if isLower && d.index != upper && !slices.Contains(found, d.index) {
				found = append(found, d.index)
				visit = append(visit, d.index)
			}
		}
	}
	return found
}

func lowerIndex(devices []device, index int) int {
	for _, d := range devices {
		if d.index == index {
			return d.lower
		}
	}
	return 0
}
