// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"sync"

	"github.com/sfunnel-io/funnel-operator/internal/kernelbtf"
)

// castToKernelCtx is the function of the kernel that bpf/kernel.h uses. Linux before
// 6.2 has not got it.
const castToKernelCtx = "bpf_cast_to_kern_ctx"

// castFunction is its number among the kernel's types. Where that can't be found the
// programs do without, as on kernels without the function.
var castFunction = sync.OnceValue(func() uint32 {
	id, err := kernelbtf.Function(castToKernelCtx)
	if err != nil {
		return 0
	}
	return id
})

// kernelFunction returns the number of a function, 0 if it is not there.
func kernelFunction(name string) uint32 {
	if name != castToKernelCtx {
		return 0
	}
	return castFunction()
}

// Warm looks up what Load will need of the kernel. Call it while there is something
// else to do.
func Warm() { castFunction() }
