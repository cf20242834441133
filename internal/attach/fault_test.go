// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestKernelOptionsAreNamed(t *testing.T) {
	err := kernelLacks(unix.ENOENT, "CONFIG_X")
	if err.Error() != "this kernel lacks CONFIG_X: no such file or directory" || !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
	if err := kernelLacks(unix.EBUSY, "CONFIG_X"); !errors.Is(err, unix.EBUSY) || err.Error() != unix.EBUSY.Error() {
		t.Errorf("got %v", err)
	}
}
