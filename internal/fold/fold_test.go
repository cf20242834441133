// SPDX-License-Identifier: Apache-2.0

package fold

import (
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// address loads the address of the constant at an offset.
func address(to asm.Register, offset uint32) asm.Instruction {
	ins := asm.LoadMapValue(to, 0, offset)
	return ins.WithReference(Section)
}

// move is what Constants makes of a read.
func move(to asm.Register, size, offset int64) asm.Instruction {
	return asm.Instruction{OpCode: asm.Mov.Op32(asm.ImmSource), Dst: to, Src: Constant, Constant: size<<24 | offset}
}

func jump(op asm.JumpOp, on asm.Register, by int16) asm.Instruction {
	return asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(op), Dst: on, Offset: by}
}

// The kernel wants to know of each function where it begins (struct bpf_func_info).
func TestFunctionsMayBeginWithConstants(t *testing.T) {
	function := &btf.Func{Name: "f", Type: &btf.FuncProto{Return: &btf.Void{}}}
	first := btf.WithFuncMetadata(address(asm.R1, 8).WithSymbol("f"), function)
	code := asm.Instructions{first, asm.LoadMem(asm.R0, asm.R1, 0, asm.Word), asm.Return()}
	if err := Constants(code); err != nil {
		t.Fatal(err)
	}
	if got := code[0]; got.Symbol() != "f" || btf.FuncMetadata(&got) != function || got.Reference() != "" {
		t.Errorf("got symbol %q, function %v, reference %q", got.Symbol(), btf.FuncMetadata(&got), got.Reference())
	}
}

func TestConstantsAreFolded(t *testing.T) {
	for name, c := range map[string]struct {
		code asm.Instructions
		want map[int]asm.Instruction // by their places; nil: an error
	}{
		"at once": {
			asm.Instructions{address(asm.R1, 8), asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), asm.Return()},
			map[int]asm.Instruction{1: move(asm.R2, 4, 8)},
		},
		"in place of its address, a part of a structure": {
			asm.Instructions{address(asm.R1, 8), asm.LoadMem(asm.R1, asm.R1, 6, asm.Half), asm.LoadMem(asm.R3, asm.R1, 0, asm.Word), asm.Return()},
			map[int]asm.Instruction{1: move(asm.R1, 2, 14), 2: asm.LoadMem(asm.R3, asm.R1, 0, asm.Word)},
		},
		"by a copy of the address, after a call": {
			asm.Instructions{address(asm.R1, 4), asm.Mov.Reg(asm.R6, asm.R1), asm.FnKtimeGetNs.Call(), asm.LoadMem(asm.R0, asm.R6, 0, asm.Byte), asm.Return()},
			map[int]asm.Instruction{3: move(asm.R0, 1, 4)},
		},
		"wherever a jump leads, backward too": {
			asm.Instructions{
				address(asm.R1, 4), jump(asm.Ja, 0, 2), // to the comparison
				asm.LoadMem(asm.R0, asm.R1, 0, asm.Word), asm.Return(),
				jump(asm.JEq, asm.R2, -3), asm.Return(),
			},
			map[int]asm.Instruction{2: move(asm.R0, 4, 4)},
		},
		"other memory is left alone": {
			asm.Instructions{address(asm.R1, 4), asm.LoadMem(asm.R2, asm.R10, -8, asm.Word), asm.LoadMem(asm.R1, asm.R1, 0, asm.Word), asm.Return()},
			map[int]asm.Instruction{1: asm.LoadMem(asm.R2, asm.R10, -8, asm.Word), 2: move(asm.R1, 4, 4)},
		},
		"which one depends on the way": {
			asm.Instructions{
				address(asm.R1, 4), jump(asm.JEq, asm.R2, 2), address(asm.R1, 8),
				asm.LoadMem(asm.R0, asm.R1, 0, asm.Word), asm.Return(),
			},
			nil,
		},
		"too large": {
			asm.Instructions{address(asm.R1, 8), asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord), asm.Return()},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := Constants(c.code)
			if (err != nil) != (c.want == nil) {
				t.Fatal(err)
			}
			for i, want := range c.want {
				if got := c.code[i]; got.OpCode != want.OpCode || got.Dst != want.Dst || got.Src != want.Src || got.Constant != want.Constant || got.Offset != want.Offset {
					t.Errorf("instruction %d: got %v (%d), want %v (%d)", i, got, got.Constant, want, want.Constant)
				}
			}
			if got := c.code[0]; err == nil && (got.IsLoadFromMap() || got.Constant != 0) {
				t.Errorf("the address is still there: %v", got)
			}
		})
	}
}

func TestValueIsOfItsSize(t *testing.T) {
	section := []byte{1, 2, 3, 4, 5}
	for number, want := range map[uint32]uint32{1<<24 | 4: 5, 2<<24 | 1: 0x302, 4<<24 | 1: 0x5040302} {
		if got := Value(number, section); got != want {
			t.Errorf("%#x: got %#x, want %#x", number, got, want)
		}
	}
}
