// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// relocation is struct bpf_core_relo: an instruction that depends on where the
// kernel has a member of a structure.
type relocation struct {
	instruction int
	kind        int
	structure   string
	accessor    string
}

// kinds are the first of enum bpf_core_relo_kind by the words of the library.
var kinds = []string{"byte_off", "byte_sz", "field_exists", "signed", "lshift_u64", "rshift_u64"}

// described is how the library prints a relocation, which is all that it tells.
var described = regexp.MustCompile(`^CORERelocation\((\w+), Struct:"(\w+)"\[([0-9:]+)\], local_id=\d+\)$`)

func parseRelocation(instruction int, text string) (relocation, error) {
	part := described.FindStringSubmatch(text)
	if part == nil {
		return relocation{}, fmt.Errorf("instruction %d: %s is no relocation that is known", instruction, text)
	}
	kind := slices.Index(kinds, part[1])
	if kind < 0 {
		return relocation{}, fmt.Errorf("instruction %d: %s is of no kind that is known", instruction, text)
	}
	return relocation{instruction, kind, part[2], part[3]}, nil
}

func (r relocation) append(out []byte, structure btf.TypeID, accessor uint32) []byte {
	for _, field := range []uint32{uint32(r.instruction * asm.InstructionSize), uint32(structure), accessor, uint32(r.kind)} {
		out = binary.LittleEndian.AppendUint32(out, field)
	}
	return out
}
