// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestSegmentDeviceIsSilentAndWithoutOffloads(t *testing.T) {
	newNamespace(t)
	d, back, err := ensureSegmentDevice(7)
	must(t, err)
	for _, name := range []string{"sfn7a", "sfn7b"} {
		l := mustLink(t, name)
		a := l.Attrs()
		if a.Flags&net.FlagUp == 0 || a.RawFlags&unix.IFF_NOARP == 0 || a.RawFlags&unix.IFF_MULTICAST != 0 {
			t.Errorf("%s has flags %#x", name, a.RawFlags)
		}
		if a.MTU != segmentMTU {
			t.Errorf("%s has MTU %d", name, a.MTU)
		}
		addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil || len(addresses) > 0 {
			t.Errorf("%s has addresses %v, %v", name, addresses, err)
		}
		if on := offloadsOn(t, name); on != 0 {
			t.Errorf("%s has offloads %#x on", name, on)
		}
	}
	again, none, err := ensureSegmentDevice(7)
	if err != nil || none != nil || again.a.Attrs().Index != d.a.Attrs().Index {
		t.Errorf("a second one: %+v, %v", again, err)
	}
	must(t, back())
	if left, err := findSegmentDevice(7); left != nil || err != nil {
		t.Errorf("after removal: %v, %v", left, err)
	}
	must(t, back())
}

// offloadsOn returns what is on of those that a new veth device has.
func offloadsOn(t *testing.T, name string) uint32 {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	f, err := readFeatures(fd, name)
	must(t, err)
	on := uint32(0)
	for _, b := range f.block {
		on |= b.active & b.available &^ b.neverChanged
	}
	return on
}

func TestANewVethHasOffloads(t *testing.T) {
	newNamespace(t)
	ethernet(t, "eth0", "")
	if offloadsOn(t, "eth0") == 0 {
		t.Error("no offload is on: the check proves nothing")
	}
}

func TestOffloadsOffNamesTheDevice(t *testing.T) {
	newNamespace(t)
	err := offloadsOff("absent0")
	if err == nil || err.Error() != "read offloads of absent0: no such device" {
		t.Errorf("got %v", err)
	}
}

func TestADeviceOfThatNameIsNotTakenOver(t *testing.T) {
	newNamespace(t)
	a := netlink.NewLinkAttrs()
	a.Name = "sfn7a"
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: a}))
	if _, _, err := ensureSegmentDevice(7); err == nil || err.Error() != "sfn7a is a bridge device and not ours" {
		t.Errorf("got %v", err)
	}
	must(t, removeSegmentDevice(8))
	mustLink(t, "sfn7a")
}
