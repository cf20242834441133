// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// dump asks the kernel for a list again when the list changed while it was
// read. After some such answers it takes the error.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	for again := 0; ; again++ {
		found, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || again == 20 {
			return found, err
		}
	}
}
