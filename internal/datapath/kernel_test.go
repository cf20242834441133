// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"testing"

	"github.com/cilium/ebpf/btf"
)

// TestCastFunctionIsThatOfTheKernel compares what is found in one go with what all
// types say.
func TestCastFunctionIsThatOfTheKernel(t *testing.T) {
	all, err := btf.LoadKernelSpec()
	if err != nil {
		t.Skipf("this kernel's types can't be read: %v", err)
	}
	var function *btf.Func
	var want btf.TypeID
	if err := all.TypeByName(castToKernelCtx, &function); err == nil {
		want, err = all.TypeID(function)
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := castFunction(); got != uint32(want) {
		t.Errorf("got %d, want %d", got, want)
	}
}
