// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/sfunnel-io/funnel-operator/bpf"
	"github.com/sfunnel-io/funnel-operator/internal/fold"
	"github.com/sfunnel-io/funnel-operator/internal/rules/rulestest"
	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

// TestLinkedIsWhatTheLibraryLinks loads every object in both ways and compares what
// the kernel has of it: what it adapted itself with what the library did.
func TestLinkedIsWhatTheLibraryLinks(t *testing.T) {
	testnet.RequireRoot(t)
	table := tableOf(t, rulestest.Distinct(65))
	for _, c := range []struct {
		name   string
		linked func() bpf.Object
		elf    func() (*ebpf.CollectionSpec, error)
	}{
		{"ingress", bpf.LinkedIngress, bpf.LoadIngress},
		{"ingress, plain", bpf.LinkedIngressPlain, bpf.LoadIngressPlain},
		{"egress", bpf.LinkedEgress, bpf.LoadEgress},
		{"egress, plain", bpf.LinkedEgressPlain, bpf.LoadEgressPlain},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newObject(c.linked())
			everything := map[string]any{classifyLayout: table.Layout()}
			for _, v := range o.Variables {
				if v.Size == 1 && v.Map == ".rodata" {
					everything[v.Name] = true // nothing is left out
				}
			}
			if err := o.setAll(everything); err != nil {
				t.Fatal(err)
			}
			sizeTables(o.maps, table)
			ours, err := o.load(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer ours.Close()
			spec, err := c.elf()
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range everything {
				if err := spec.Variables[name].Set(value); err != nil {
					t.Fatal(err)
				}
			}
			sizeTables(spec.Maps, table)
			putConstants(t, spec, o.Program)
			theirs, err := ebpf.NewCollection(spec)
			if err != nil {
				t.Fatal(err)
			}
			defer theirs.Close()
			sameInstructions(t, translated(t, ours.program), translated(t, theirs.Programs[o.Program]))
		})
	}
}

// putConstants puts the constants of an object into its instructions.
func putConstants(t *testing.T, spec *ebpf.CollectionSpec, program string) {
	t.Helper()
	code := spec.Programs[program].Instructions
	if err := fold.Constants(code); err != nil {
		t.Fatal(err)
	}
	constants, put := make([]byte, spec.Maps[fold.Section].ValueSize), 0
	for _, v := range spec.Variables {
		if v.SectionName == fold.Section {
			copy(constants[v.Offset:], v.Value)
		}
	}
	for i, ins := range code {
		if ins.OpCode.Class() != asm.ALUClass || ins.Src != fold.Constant {
			continue
		}
		value := fold.Value(uint32(ins.Constant), constants)
		code[i] = asm.Mov.Imm32(ins.Dst, int32(value)).WithMetadata(ins.Metadata)
		put++
	}
	if put == 0 {
		t.Fatal("the object reads no constant")
	}
}

// translated are the instructions that the kernel made of a program.
func translated(t *testing.T, p *ebpf.Program) asm.Instructions {
	t.Helper()
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	instructions, err := info.Instructions()
	if err != nil {
		t.Fatal(err)
	}
	return instructions
}

// sameInstructions leaves out the numbers of maps, which differ.
func sameInstructions(t *testing.T, got, want asm.Instructions) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d instructions, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.IsLoadFromMap() && w.IsLoadFromMap() {
			g.Constant, w.Constant = g.Constant>>32, w.Constant>>32
		}
		if g.OpCode != w.OpCode || g.Dst != w.Dst || g.Src != w.Src || g.Offset != w.Offset || g.Constant != w.Constant {
			t.Errorf("instruction %d: got %v, want %v", i, g, w)
		}
	}
}
