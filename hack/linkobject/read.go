// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/sfunnel-io/funnel-operator/internal/fold"
)

// linked is a program as package bpf describes it. Instructions name maps and
// functions of the kernel by their places in these lists, constants by theirs in the
// section of that name.
type linked struct {
	spec            *ebpf.CollectionSpec
	program         string
	maps            []string
	kernelFunctions []string

	instructions, types, functions, relocations []byte
}

func readObject(file string) (*linked, error) {
	spec, err := ebpf.LoadCollectionSpec(file)
	if err != nil {
		return nil, err
	}
	if len(spec.Programs) != 1 {
		return nil, fmt.Errorf("%d programs, want one", len(spec.Programs))
	}
	l := &linked{spec: spec}
	for name, program := range spec.Programs {
		l.program = name
		err = l.take(program.Instructions)
	}
	return l, err
}

func (l *linked) take(instructions asm.Instructions) error {
	if err := fold.Constants(instructions); err != nil {
		return err
	}
	var relocations []relocation
	for iterator := instructions.Iterate(); iterator.Next(); {
		ins := iterator.Ins
		*ins = ins.WithSource(nil)
		if r := btf.CORERelocationMetadata(ins); r != nil {
			parsed, err := parseRelocation(int(iterator.Offset), r.String())
			if err != nil {
				return err
			}
			relocations = append(relocations, parsed)
		}
		switch {
		case ins.IsLoadFromMap():
			offset := ins.Constant &^ math.MaxUint32
			ins.Constant = offset | place(&l.maps, ins.Reference())
		case ins.IsKfuncCall():
			ins.Constant = place(&l.kernelFunctions, ins.Reference())
		case ins.OpCode.IsDWordLoad() && ins.Src == 0 && ins.Reference() != "": // whether it is there
			ins.Constant, ins.Src = place(&l.kernelFunctions, ins.Reference()), pseudoKernelSymbol
		}
	}
	return l.marshal(instructions, relocations)
}

// pseudoKernelSymbol is BPF_PSEUDO_BTF_ID.
const pseudoKernelSymbol = 3

// place returns where a name stands in a list, to which it is added if need be.
func place(list *[]string, name string) int64 {
	if !slices.Contains(*list, name) {
		*list = append(*list, name)
	}
	return int64(slices.Index(*list, name))
}

func (l *linked) marshal(instructions asm.Instructions, relocations []relocation) error {
	types, err := btf.NewBuilder(nil, nil)
	if err != nil {
		return err
	}
	if l.functions, _, err = btf.MarshalExtInfos(instructions, types); err != nil {
		return err
	}
	ids := map[string]btf.TypeID{}
	for _, r := range relocations {
		t, err := l.spec.Types.AnyTypeByName(r.structure)
		if err != nil {
			return err
		}
		if ids[r.structure], err = types.Add(t); err != nil {
			return err
		}
	}
	raw, err := types.Marshal(nil, &btf.MarshalOptions{Order: binary.LittleEndian})
	if err != nil {
		return err
	}
	l.types = raw
	for _, r := range relocations {
		l.relocations = r.append(l.relocations, ids[r.structure], l.addString(r.accessor))
	}
	var code bytes.Buffer
	err = instructions.Marshal(&code, binary.LittleEndian)
	l.instructions = code.Bytes()
	return err
}

// addString appends a string to the types, whose end the strings are, and returns
// where it stands there.
func (l *linked) addString(s string) uint32 {
	const stringsLength = 20 // of struct btf_header
	length := binary.LittleEndian.Uint32(l.types[stringsLength:])
	l.types = append(append(l.types, s...), 0)
	binary.LittleEndian.PutUint32(l.types[stringsLength:], length+uint32(len(s))+1)
	return length
}
