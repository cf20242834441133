// SPDX-License-Identifier: Apache-2.0

package kernelbtf

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// Types are what was looked for.
type Types struct {
	// Spec holds the structure with the members that were asked for.
	Spec *btf.Spec
	// Func is the id of the function among the kernel's types.
	Func btf.TypeID
}

// Find returns some members of a structure, also those in unnamed parts of it, and
// a function. It fails when something is missing or a member is neither a whole
// number nor a pointer.
func (f *File) Find(structure string, members []string, function string) (*Types, error) {
	found, err := f.find(named{kindStruct, structure}, named{kindFunc, function})
	if err != nil {
		return nil, err
	}
	for i, name := range []string{structure, function} {
		if found[i].id == 0 {
			return nil, fmt.Errorf("the kernel has no %s", name)
		}
	}
	wanted := map[string]bool{}
	for _, m := range members {
		wanted[m] = true
	}
	s := &btf.Struct{Name: structure, Size: found[0].size}
	if err := f.gather(s, found[0], 0, wanted); err != nil {
		return nil, fmt.Errorf("%s: %w", structure, err)
	}
	for name := range wanted {
		return nil, fmt.Errorf("%s has no %s", structure, name)
	}
	builder, err := btf.NewBuilder([]btf.Type{s}, nil)
	if err != nil {
		return nil, err
	}
	spec, err := builder.Spec()
	return &Types{spec, btf.TypeID(found[1].id)}, err
}

// gather moves members from wanted to s; base is where the part of the structure
// begins, in bits.
func (f *File) gather(s *btf.Struct, part raw, base uint32, wanted map[string]bool) error {
	for i := range part.members() {
		m := part.rest[i*bytesOfMember:]
		name := f.string(binary.LittleEndian.Uint32(m))
		typ, offset := binary.LittleEndian.Uint32(m[4:]), binary.LittleEndian.Uint32(m[8:])
		bits := uint32(0)
		if part.bitfield() {
			bits, offset = offset>>24, offset&0xffffff
		}
		offset += base
		if name == "" {
			if err := f.gatherUnnamed(s, typ, offset, wanted); err != nil {
				return err
			}
			continue
		}
		if !wanted[name] {
			continue
		}
		delete(wanted, name)
		t, err := f.plain(typ)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s.Members = append(s.Members, btf.Member{Name: name, Type: t, Offset: btf.Bits(offset), BitfieldSize: btf.Bits(bits)})
	}
	return nil
}

func (f *File) gatherUnnamed(s *btf.Struct, typ, base uint32, wanted map[string]bool) error {
	part, err := f.byID(typ)
	if err != nil || part.kind() != kindStruct && part.kind() != kindUnion {
		return err
	}
	return f.gather(s, part, base, wanted)
}

// plain returns a number or a pointer behind its names and qualifiers.
func (f *File) plain(id uint32) (btf.Type, error) {
	for range 16 {
		r, err := f.byID(id)
		if err != nil {
			return nil, err
		}
		switch r.kind() {
		case kindInt:
			return &btf.Int{Size: r.size}, nil
		case kindPointer:
			return &btf.Pointer{Target: &btf.Void{}}, nil
		case kindTypedef, kindVolatile, kindConst, kindTypeTag:
			id = r.size
		default:
			return nil, errFormat
		}
	}
	return nil, errFormat
}
