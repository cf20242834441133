// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/sfunnel-io/funnel-operator/bpf"
)

// What is found one by one is what all types say, for every place in the programs.
func TestUsedTypesAreThoseOfTheKernel(t *testing.T) {
	all, err := kernelTypes.Kernel()
	if err != nil {
		t.Skipf("this kernel's types can't be read: %v", err)
	}
	var function *btf.Func
	if err := all.TypeByName(castToKernelCtx, &function); err != nil {
		t.Skip("before Linux 6.2 all types are read")
	}
	used, err := usedTypes()
	if err != nil {
		t.Fatal(err)
	}
	if id, err := all.TypeID(function); err != nil || id != used.Func {
		t.Errorf("%s is %d, found %d %v", castToKernelCtx, id, used.Func, err)
	}
	for _, spec := range everyObject(t) {
		for name, p := range spec.Programs {
			places := relocations(p.Instructions)
			if len(places) == 0 {
				t.Errorf("%s reads nothing of the kernel", name)
			}
			if got, want := relocated(t, places, used.Spec), relocated(t, places, all); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %v, want %v", name, got, want)
			}
		}
	}
}

func relocations(instructions asm.Instructions) (places []*btf.CORERelocation) {
	for i := range instructions {
		if r := btf.CORERelocationMetadata(&instructions[i]); r != nil {
			places = append(places, r)
		}
	}
	return places
}

func relocated(t *testing.T, places []*btf.CORERelocation, types *btf.Spec) []btf.COREFixup {
	t.Helper()
	builder := new(btf.Builder)
	fixups, err := btf.CORERelocate(places, []*btf.Spec{types}, binary.LittleEndian, builder.Add)
	if err != nil {
		t.Fatal(err)
	}
	return fixups
}

// No place that names the function is left, and nothing else an instruction carries
// is lost.
func TestResolveFunction(t *testing.T) {
	spec, err := bpf.LoadEgress()
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range spec.Programs {
		before := append(asm.Instructions{}, p.Instructions...)
		resolveFunction(p.Instructions, castToKernelCtx, 42)
		resolved := 0
		for i, ins := range p.Instructions {
			was := before[i]
			if was.Reference() == castToKernelCtx {
				resolved++
				was.Constant = 42
			}
			if ins.Reference() == castToKernelCtx || ins.Constant != was.Constant || ins.Symbol() != was.Symbol() ||
				btf.FuncMetadata(&ins) != btf.FuncMetadata(&was) || ins.Source() != was.Source() {
				t.Errorf("%s: instruction %d is %v, was %v", name, i, ins, was)
			}
		}
		if resolved == 0 {
			t.Errorf("%s does not name %s", name, castToKernelCtx)
		}
	}
}
