// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// kernelLacks names the configuration option that an error of the kernel's
// traffic control means: it answers ENOENT for a kind that it does not know.
func kernelLacks(err error, option string) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("this kernel lacks %s: %w", option, err)
	}
	return err
}
