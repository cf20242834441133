// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// features are a device's offloads as ethtool knows them, 32 a block: struct
// ethtool_gfeatures of include/uapi/linux/ethtool.h, in host byte order.
type features struct {
	command uint32
	blocks  uint32 // in: room in block; out: how many blocks the kernel has
	block   [4]struct {
		available, requested, active, neverChanged uint32
	}
}

// changes is struct ethtool_sfeatures.
type changes struct {
	command uint32
	blocks  uint32
	block   [4]struct {
		valid, requested uint32
	}
}

// offloadsOff turns off whatever of a device can be turned off: segmentation,
// checksums, scatter/gather. It goes by what the device offers and not by names,
// so that the offloads of later kernels are covered, too.
func offloadsOff(device string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	has, err := readFeatures(fd, device)
	if err != nil {
		return err
	}
	off := changes{command: unix.ETHTOOL_SFEATURES, blocks: has.blocks}
	for i := range has.blocks {
		off.block[i].valid = has.block[i].available &^ has.block[i].neverChanged
	}
	if err := ethtool(fd, device, unsafe.Pointer(&off)); err != nil {
		return fmt.Errorf("turn offloads of %s off: %w", device, err)
	}
	return checkOff(fd, device)
}

// checkOff fails when an offload that can be changed is still on.
func checkOff(fd int, device string) error {
	has, err := readFeatures(fd, device)
	if err != nil {
		return err
	}
	for i := range has.blocks {
		b := has.block[i]
		if on := b.active & b.available &^ b.neverChanged; on != 0 {
			return fmt.Errorf("offloads %#x (block %d) of %s stay on", on, i, device)
		}
	}
	return nil
}

func readFeatures(fd int, device string) (features, error) {
	var f features
	f.command = unix.ETHTOOL_GFEATURES
	f.blocks = uint32(len(f.block))
	if err := ethtool(fd, device, unsafe.Pointer(&f)); err != nil {
		return f, fmt.Errorf("read offloads of %s: %w", device, err)
	}
	if int(f.blocks) > len(f.block) {
		return f, fmt.Errorf("read offloads of %s: %d blocks, want at most %d", device, f.blocks, len(f.block))
	}
	return f, nil
}

// ifreq is struct ifreq with a pointer in its union.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// ethtool does one ioctl; data begins with the command.
func ethtool(fd int, device string, data unsafe.Pointer) error {
	request := ifreq{data: data}
	copy(request.name[:unix.IFNAMSIZ-1], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}
