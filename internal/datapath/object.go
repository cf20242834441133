// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/fold"
)

// object is a program that is made ready to be loaded.
type object struct {
	bpf.Object
	maps  map[string]*ebpf.MapSpec // to be sized, by their names in the object
	names []string                 // of Maps in the object
	data  map[string][]byte        // what data sections begin with
}

func newObject(linked bpf.Object) *object {
	o := &object{Object: linked, maps: map[string]*ebpf.MapSpec{}, data: map[string][]byte{}}
	o.data[fold.Section] = []byte(o.Constants)
	for i := range o.Maps {
		m := &o.Maps[i]
		o.maps[m.Name] = &m.MapSpec
		o.names = append(o.names, m.Name)
		if m.Content != "" {
			o.data[m.Name] = []byte(m.Content)
			m.Contents = []ebpf.MapKV{{Key: uint32(0), Value: o.data[m.Name]}}
		}
	}
	return o
}

// has reports whether the object has a variable.
func (o *object) has(name string) bool {
	for _, v := range o.Variables {
		if v.Name == name {
			return true
		}
	}
	return false
}

// set gives a variable its value before the program is loaded.
func (o *object) set(name string, value any) error {
	for _, v := range o.Variables {
		if v.Name != name {
			continue
		}
		if size := binary.Size(value); size != int(v.Size) {
			return fmt.Errorf("set %s: %d octets, want %d", name, size, v.Size)
		}
		_, err := binary.Encode(o.data[v.Map][v.Offset:], binary.NativeEndian, value)
		return err
	}
	return fmt.Errorf("the object has no %s", name)
}

func (o *object) setAll(values map[string]any) error {
	for name, value := range values {
		if err := o.set(name, value); err != nil {
			return err
		}
	}
	return nil
}

// loaded is a program in the kernel with its maps.
type loaded struct {
	program *ebpf.Program
	maps    map[string]*ebpf.Map
}

func (l *loaded) Close() {
	if l.program != nil {
		l.program.Close()
	}
	for _, m := range l.maps {
		m.Close()
	}
}

// load makes the maps, but for those that are shared, and loads the program. What it
// made is gone when it fails.
func (o *object) load(shared map[string]*ebpf.Map) (*loaded, error) {
	l := &loaded{maps: map[string]*ebpf.Map{}}
	if err := o.loadInto(l, shared); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (o *object) loadInto(l *loaded, shared map[string]*ebpf.Map) error {
	for name, spec := range o.maps {
		m, err := open(spec, shared[name])
		if err != nil {
			return fmt.Errorf("map %s: %w", name, err)
		}
		l.maps[name] = m
	}
	types, err := btf.NewHandleFromRawBTF(o.Types)
	if err != nil {
		return err
	}
	defer types.Close()
	l.program, err = o.loadProgram(l.maps, types)
	return err
}

// open makes a map or takes up a shared one.
func open(spec *ebpf.MapSpec, shared *ebpf.Map) (*ebpf.Map, error) {
	if shared != nil {
		return shared.Clone()
	}
	return ebpf.NewMap(spec)
}

// Of include/uapi/linux/bpf.h.
const (
	opLoad             = 0x18 // BPF_LD | BPF_IMM | BPF_DW
	opMove             = 0xb4 // BPF_ALU | BPF_MOV | BPF_K
	opCall             = 0x85 // BPF_JMP | BPF_CALL
	pseudoMap          = 1    // BPF_PSEUDO_MAP_FD
	pseudoMapValue     = 2    // BPF_PSEUDO_MAP_VALUE
	pseudoKernelSymbol = 3    // BPF_PSEUDO_BTF_ID
	pseudoKernelCall   = 2    // BPF_PSEUDO_KFUNC_CALL
)

// resolved returns the instructions with the constants, the maps and the functions of
// the kernel that they name. Where they ask whether there is a function they find its number, or
// 0: then it is not called, and nothing of the kernel's structures is used.
func (o *object) resolved(maps map[string]*ebpf.Map) (code []byte, adapts bool) {
	code = bytes.Clone(o.Instructions)
	for at := 0; at < len(code); at += asm.InstructionSize {
		op, source, number := code[at], &code[at+1], code[at+4:at+8]
		switch kind := *source >> 4; {
		case op == opMove && kind == fold.Constant:
			value := fold.Value(binary.NativeEndian.Uint32(number), o.data[fold.Section])
			binary.NativeEndian.PutUint32(number, value)
			*source &= 0xf
		case op == opLoad && (kind == pseudoMap || kind == pseudoMapValue):
			m := maps[o.names[binary.NativeEndian.Uint32(number)]]
			binary.NativeEndian.PutUint32(number, uint32(m.FD()))
		case op == opLoad && kind == pseudoKernelSymbol, op == opCall && kind == pseudoKernelCall:
			function := kernelFunction(o.KernelFunctions[binary.NativeEndian.Uint32(number)])
			binary.NativeEndian.PutUint32(number, function)
			adapts = function != 0
			if op == opLoad {
				*source &= 0xf
			}
		}
	}
	return code, adapts
}
