// SPDX-License-Identifier: Apache-2.0

// Package fold puts the constants of a program, which are set before it is loaded and never
// change after that, into its instructions. It then reads two or three cache lines
// less, which bulk data has pushed out of the caches by the next packet, and is loaded without
// a map for them.
package fold

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// Section is where constants are in an object.
const Section = ".rodata"

// Constant stands for the source register of a move whose number says which constant it
// is. Whoever loads the program puts the constant there, and 0 for the register.
const Constant = 15

// Value returns the constant that a number stands for, given the section: the upper octet
// is its size, the others are its offset.
func Value(number uint32, section []byte) uint32 {
	var value [4]byte
	copy(value[:], section[number&0xffffff:][:number>>24])
	return binary.NativeEndian.Uint32(value[:])
}

// Constants makes of what reads a constant such a move, and leaves 0 where its address
// was; the verifier refuses what uses that.
func Constants(instructions asm.Instructions) error {
	for i, known := range addressesIn(instructions) {
		ins := &instructions[i]
		switch class := ins.OpCode.Class(); {
		case isConstantAddress(ins):
			// What else stands with it stays: a function may begin here.
			*ins = asm.LoadImm(ins.Dst, 0, asm.DWord).WithMetadata(ins.Metadata).WithReference("")
		case class == asm.LdXClass && known[ins.Src] != notConstant:
			at, size := known[ins.Src], ins.OpCode.Size().Sizeof()
			if at == severalConstants || size > 4 {
				return fmt.Errorf("instruction %d, %v: reads several constants, or one of more than 4 octets", i, ins)
			}
			*ins = asm.Instruction{
				OpCode: asm.Mov.Op32(asm.ImmSource), Dst: ins.Dst, Src: Constant,
				Constant: int64(size)<<24 | (int64(at) + int64(ins.Offset)), Metadata: ins.Metadata,
			}
		}
	}
	return nil
}

func isConstantAddress(ins *asm.Instruction) bool {
	return ins.IsLoadFromMap() && ins.Reference() == Section
}

// addresses are, for each register, where in the section of constants it points to.
type addresses [asm.R10 + 1]int32

const (
	notConstant      = -1
	severalConstants = -2 // it depends on the way here
)

// addressesIn returns what is known before each instruction.
func addressesIn(instructions asm.Instructions) []addresses {
	f := flow{
		instructions: instructions,
		index:        map[asm.RawInstructionOffset]int{},
		before:       make([]addresses, len(instructions)),
		reached:      make([]bool, len(instructions)),
	}
	var offsets []asm.RawInstructionOffset
	for i := instructions.Iterate(); i.Next(); {
		f.index[i.Offset] = i.Index
		offsets = append(offsets, i.Offset)
	}
	var none addresses
	for r := range none {
		none[r] = notConstant
	}
	for i := range instructions {
		f.before[i] = none                            // also where nothing leads
		if i == 0 || instructions[i].Symbol() != "" { // a function begins
			f.reach(i, none)
		}
	}
	for len(f.waiting) > 0 {
		i := f.waiting[len(f.waiting)-1]
		f.waiting = f.waiting[:len(f.waiting)-1]
		f.follow(i, offsets[i])
	}
	return f.before
}

// flow is on its way through a program.
type flow struct {
	instructions asm.Instructions
	index        map[asm.RawInstructionOffset]int
	before       []addresses
	reached      []bool
	waiting      []int // instructions before which something else is known now
}

// follow goes on from an instruction to those that can come after it.
func (f *flow) follow(i int, offset asm.RawInstructionOffset) {
	ins := &f.instructions[i]
	after := f.before[i].after(ins)
	op, jumps := ins.OpCode.JumpOp(), ins.OpCode.Class().IsJump()
	if jumps && op != asm.Call && op != asm.Exit {
		f.reach(f.index[offset+1+asm.RawInstructionOffset(ins.Offset)], after)
	}
	if !jumps || op != asm.Ja && op != asm.Exit {
		f.reach(i+1, after)
	}
}

// reach notes one more way to an instruction.
func (f *flow) reach(i int, known addresses) {
	if f.reached[i] {
		for r, before := range f.before[i] {
			if before != known[r] {
				known[r] = severalConstants
			}
		}
		if known == f.before[i] {
			return
		}
	}
	f.before[i], f.reached[i] = known, true
	f.waiting = append(f.waiting, i)
}

// after is what is known after an instruction.
func (a addresses) after(ins *asm.Instruction) addresses {
	class := ins.OpCode.Class()
	switch {
	case isConstantAddress(ins):
		a[ins.Dst] = int32(ins.Constant >> 32)
	case class == asm.ALU64Class && ins.OpCode.ALUOp() == asm.Mov && ins.OpCode.Source() == asm.RegSource:
		a[ins.Dst] = a[ins.Src]
	case class.IsJump():
		if ins.OpCode.JumpOp() == asm.Call {
			for r := asm.R0; r <= asm.R5; r++ {
				a[r] = notConstant
			}
		}
	case !class.IsStore():
		a[ins.Dst] = notConstant
	}
	return a
}
