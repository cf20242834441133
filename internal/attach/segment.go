// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// segmentMTU is the largest that a veth device takes. Segments are as long as
// the socket made them; the device must never be what limits them, not even
// after somebody raises the MTU of the real interface.
const segmentMTU = 65535

// addrGenNone is IN6_ADDR_GEN_MODE_NONE of include/uapi/linux/if_link.h.
const addrGenNone = 1

// segmentDevice is a veth pair in the namespace of an interface. What enters A
// comes out of B cut into segments with complete checksums, because neither end
// has an offload left.
type segmentDevice struct {
	a, b netlink.Link
}

// segmentName is "sfn<index>a" or "sfn<index>b", at most 14 bytes.
func segmentName(index int, end byte) string {
	return "sfn" + strconv.Itoa(index) + string(end)
}

// parseSegmentName returns which interface an end of a segmenting device
// belongs to; false for any other name.
func parseSegmentName(name string) (index int, end byte, ok bool) {
	rest, ok := strings.CutPrefix(name, "sfn")
	if !ok || len(rest) < 2 {
		return 0, 0, false
	}
	end = rest[len(rest)-1]
	index, err := strconv.Atoi(rest[:len(rest)-1])
	ok = err == nil && index > 0 && (end == 'a' || end == 'b') && segmentName(index, end) == name
	return index, end, ok
}

// findSegmentDevice returns the segmenting device of the interface with that
// index, or nil. Something else of that name is an error.
func findSegmentDevice(index int) (*segmentDevice, error) {
	a, err := segmentEnd(index, 'a')
	if err != nil {
		return nil, err
	}
	b, err := segmentEnd(index, 'b')
	if err != nil || (a == nil && b == nil) {
		return nil, err
	}
	if a == nil || b == nil || a.Attrs().ParentIndex != b.Attrs().Index {
		return nil, fmt.Errorf("%s and %s are no pair", segmentName(index, 'a'), segmentName(index, 'b'))
	}
	return &segmentDevice{a: a, b: b}, nil
}

// segmentEnd returns one end, or nil when it is not there.
func segmentEnd(index int, end byte) (netlink.Link, error) {
	name := segmentName(index, end)
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", name, err)
	}
	if link.Type() != "veth" {
		return nil, fmt.Errorf("%s is a %s device and not ours", name, link.Type())
	}
	return link, nil
}

// ensureSegmentDevice returns the segmenting device of an interface and makes it
// if need be; then it also returns how to undo that. One that is there gets the
// settings that a new one has.
func ensureSegmentDevice(index int) (*segmentDevice, func() error, error) {
	found, err := findSegmentDevice(index)
	if err != nil {
		return nil, nil, err
	}
	if found != nil {
		return found, nil, found.setUp()
	}
	d, err := makeSegmentDevice(index)
	if err != nil {
		return nil, nil, fmt.Errorf("make segmenting device %s: %w", segmentName(index, 'a'), err)
	}
	return d, d.remove, nil
}

func makeSegmentDevice(index int) (*segmentDevice, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = segmentName(index, 'a'), segmentMTU
	pair := netlink.NewVeth(attrs)
	pair.PeerName, pair.PeerMTU = segmentName(index, 'b'), segmentMTU
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, err
	}
	d, err := findSegmentDevice(index)
	if err == nil {
		err = d.setUp()
	}
	if err != nil {
		return nil, errors.Join(err, netlink.LinkDel(pair))
	}
	return d, nil
}

// setUp makes both ends silent, without offloads, and up. End A, into which
// packets are sent, comes last: it then finds its carrier there and has a queue
// when LinkSetUp returns. The end that is opened first gets its queue from a
// worker of the kernel some time later, and drops what is sent into it until then.
func (d *segmentDevice) setUp() error {
	for _, end := range []netlink.Link{d.a, d.b} {
		if err := silence(end); err != nil {
			return err
		}
		if err := offloadsOff(end.Attrs().Name); err != nil {
			return err
		}
	}
	for _, end := range []netlink.Link{d.b, d.a} {
		if err := netlink.LinkSetUp(end); err != nil {
			return fmt.Errorf("set %s up: %w", end.Attrs().Name, err)
		}
	}
	return nil
}

// silence keeps the kernel from sending anything of its own through a device:
// no IPv6 address, no ARP, no multicast. A kernel without IPv6 answers
// EAFNOSUPPORT or EOPNOTSUPP, and then there is nothing to keep quiet.
func silence(link netlink.Link) error {
	name := link.Attrs().Name
	err := netlink.LinkSetIP6AddrGenMode(link, addrGenNone)
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("keep IPv6 addresses off %s: %w", name, err)
	}
	if err := netlink.LinkSetARPOff(link); err != nil {
		return fmt.Errorf("turn ARP of %s off: %w", name, err)
	}
	if err := netlink.LinkSetMulticastOff(link); err != nil {
		return fmt.Errorf("turn multicast of %s off: %w", name, err)
	}
	return nil
}

// remove deletes the device with its program. One that is gone is no error.
func (d *segmentDevice) remove() error {
	err := netlink.LinkDel(d.a)
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove %s: %w", d.a.Attrs().Name, err)
	}
	return nil
}
