// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// hostInode is the inode number of the first network namespace since Linux
// 6.18 (NET_NS_INIT_INO in include/uapi/linux/nsfs.h). Before, the number was
// handed out at boot and differs between kernels.
const hostInode = 0xEFFFFFF9

// hostOnly are settings that the kernel shows in its first network namespace
// and in no other (net_core_table in net/core/sysctl_net_core.c, registered
// with &init_net). There are several, should one of them get namespaced: all
// of them must be there.
var hostOnly = []string{"netdev_budget", "dev_weight", "netdev_max_backlog"}

// InHostNetwork reports whether this process is in the network namespace that
// the machine booted with: the host's, which a pod with hostNetwork shares.
//
// A container can't compare itself with the host's init process. But /proc/sys/net
// shows each namespace its own settings, and some exist in the first one only.
// That is the kernel's own list and not a guess by interface names, which
// would take a pod with a passed-through device for the host. Measured on Linux
// 6.1, 6.12 and 6.18: all three settings in the first namespace, none in another.
// A node that itself lives in a network namespace (kind, nested nodes) has no
// such settings and is not recognised; there the webhook's denial of hostNetwork
// pods is the only guard. An error means that /proc/sys can't be read.
func InHostNetwork() (bool, error) {
	var self unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &self); err == nil && self.Ino == hostInode {
		return true, nil
	}
	return onlyHostHas("/proc/sys/net/core/")
}

// onlyHostHas reports whether a folder of settings holds all of hostOnly.
func onlyHostHas(folder string) (bool, error) {
	if _, err := os.Stat(folder); err != nil {
		return false, fmt.Errorf("tell the host's network from a pod's: %w", err)
	}
	for _, name := range hostOnly {
		if _, err := os.Stat(folder + name); errors.Is(err, fs.ErrNotExist) {
			return false, nil
		} else if err != nil {
			return false, fmt.Errorf("tell the host's network from a pod's: %w", err)
		}
	}
	return true, nil
}
