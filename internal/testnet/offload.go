// SPDX-License-Identifier: Apache-2.0

package testnet

import (
	"bytes"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offload switches offloads of an interface on or off. Names are the kernel's,
// as `ethtool -k` prints them when they stand for one feature:
// "tx-checksum-ip-generic", "rx-gro".
func (ns *Namespace) Offload(device string, on bool, names ...string) {
	ns.t.Helper()
	ns.changeOffloads(device, func(known []string, _ features) (change changes, err error) {
		for _, name := range names {
			bit := index(known, name)
			if bit < 0 {
				return change, fmt.Errorf("no offload %s", name)
			}
			change.block[bit/32].valid |= 1 << (bit % 32)
			if on {
				change.block[bit/32].requested |= 1 << (bit % 32)
			}
		}
		return change, nil
	})
}

// OffloadsOff switches off all that can be.
func (ns *Namespace) OffloadsOff(device string) {
	ns.t.Helper()
	ns.changeOffloads(device, func(_ []string, has features) (change changes, err error) {
		for i, b := range has.block {
			change.block[i].valid = b.available &^ b.neverChanged
		}
		return change, nil
	})
}

func index(list []string, name string) int {
	for i, candidate := range list {
		if candidate == name {
			return i
		}
	}
	return -1
}

// stringSetFeatures is ETH_SS_FEATURES of linux/ethtool.h.
const stringSetFeatures = 4

// featureBlocks is how many blocks of 32 features the structures have room for.
const featureBlocks = 8

// features is struct ethtool_gfeatures, changes struct ethtool_sfeatures, names
// struct ethtool_gstrings of linux/ethtool.h.
type features struct {
	command, size uint32
	block         [featureBlocks]struct{ available, requested, active, neverChanged uint32 }
}

type changes struct {
	command, size uint32
	block         [featureBlocks]struct{ valid, requested uint32 }
}

type names struct {
	command, set, count uint32
	name                [32 * featureBlocks][32]byte
}

func (ns *Namespace) changeOffloads(device string, decide func([]string, features) (changes, error)) {
	ns.t.Helper()
	var err error
	ns.Do(func() { err = changeOffloads(device, decide) })
	if err != nil {
		ns.t.Fatalf("%s: offloads of %s: %v", ns.Name, device, err)
	}
}

func changeOffloads(device string, decide func([]string, features) (changes, error)) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	known := names{command: unix.ETHTOOL_GSTRINGS, set: stringSetFeatures}
	if err := ethtool(fd, device, unsafe.Pointer(&known)); err != nil {
		return err
	}
	has := features{command: unix.ETHTOOL_GFEATURES, size: featureBlocks}
	if err := ethtool(fd, device, unsafe.Pointer(&has)); err != nil {
		return err
	}
	change, err := decide(known.list(), has)
	if err != nil {
		return err
	}
	change.command, change.size = unix.ETHTOOL_SFEATURES, has.size
	return ethtool(fd, device, unsafe.Pointer(&change))
}

func (n *names) list() []string {
	list := make([]string, min(int(n.count), len(n.name)))
	for i := range list {
		name, _, _ := bytes.Cut(n.name[i][:], []byte{0})
		list[i] = string(name)
	}
	return list
}

// ethtool does one ioctl; data begins with the command.
func ethtool(fd int, device string, data unsafe.Pointer) error {
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: data}
	copy(request.name[:unix.IFNAMSIZ-1], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}
