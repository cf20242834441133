// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/sfunnel-io/funnel-operator/internal/kernelbtf"
)

// What bpf/kernel.h uses of the kernel: members of a structure, and a function.
const (
	socketBuffer    = "sk_buff"
	castToKernelCtx = "bpf_cast_to_kern_ctx"
)

var socketBufferMembers = []string{"ip_summed", "csum_start", "csum_offset", "head", "data"}

// kernelTypes are all types of the running kernel, which take long to read. They
// are for kernels whose types are not found one by one.
var kernelTypes = btf.NewCache()

// usedTypes are those that the programs use.
var usedTypes = sync.OnceValues(func() (*kernelbtf.Types, error) {
	file, done, err := kernelbtf.Running()
	if err != nil {
		return nil, err
	}
	defer done()
	return file.Find(socketBuffer, socketBufferMembers, castToKernelCtx)
})

// Warm reads what Load will need of the kernel. Call it while there is something
// else to do; what goes wrong goes wrong in Load again.
func Warm() {
	if _, err := usedTypes(); err != nil {
		_, _ = kernelTypes.Kernel()
	}
}

// useKernelTypes gives what is to be loaded the types that it needs, and none of a
// module, of which there may be a hundred.
func useKernelTypes(spec *ebpf.CollectionSpec, options *ebpf.CollectionOptions) {
	options.Cache = kernelTypes
	used, err := usedTypes()
	if err != nil { // Linux before 6.2 has not got the function
		options.Programs.KernelTypes, _ = kernelTypes.Kernel()
		return
	}
	options.Programs.KernelTypes = used.Spec
	for _, p := range spec.Programs {
		resolveFunction(p.Instructions, castToKernelCtx, used.Func)
	}
}

// resolveFunction puts the number of a kernel function where instructions name it,
// as the library would do with all types at hand.
func resolveFunction(instructions asm.Instructions, name string, id btf.TypeID) {
	for i := range instructions {
		ins := &instructions[i]
		if (ins.IsKfuncCall() || ins.OpCode.IsDWordLoad()) && ins.Reference() == name {
			*ins = withoutReference(*ins)
			ins.Constant = int64(id)
		}
	}
}

// withoutReference keeps what an instruction carries but for what is to be resolved.
func withoutReference(ins asm.Instruction) asm.Instruction {
	plain := ins
	plain.Metadata = asm.Metadata{}
	if symbol := ins.Symbol(); symbol != "" {
		plain = plain.WithSymbol(symbol)
	}
	if f := btf.FuncMetadata(&ins); f != nil {
		plain = btf.WithFuncMetadata(plain, f)
	}
	if source := ins.Source(); source != nil {
		plain = plain.WithSource(source)
	}
	return plain
}
