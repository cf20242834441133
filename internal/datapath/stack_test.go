// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/sfunnel-io/funnel-operator/bpf"
)

// frameOf is the stack of a function and whom it calls, callbacks included.
type frameOf struct {
	octets int
	calls  map[string]bool
}

// TestProgramsFitTheStack adds up the deepest chain of calls as kernels before
// 6.8 do, whatever the rules: 512 octets, each frame rounded up to 32. Later ones
// leave out what the constants of a rule set can't reach.
func TestProgramsFitTheStack(t *testing.T) {
	for _, spec := range everyObject(t) {
		for name, program := range spec.Programs {
			depth, chain := deepest(framesOf(program.Instructions), name)
			t.Logf("%s: %d octets by %s", name, depth, strings.Join(chain, ", "))
			if depth > 512 {
				t.Errorf("%s: %d octets of stack, at most 512 are possible", name, depth)
			}
		}
	}
}

// everyObject are the objects as the library reads them.
func everyObject(t *testing.T) (all []*ebpf.CollectionSpec) {
	t.Helper()
	for _, load := range []func() (*ebpf.CollectionSpec, error){bpf.LoadIngress, bpf.LoadIngressPlain, bpf.LoadEgress, bpf.LoadEgressPlain} {
		spec, err := load()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, spec)
	}
	return all
}

func framesOf(instructions asm.Instructions) map[string]*frameOf {
	frames := map[string]*frameOf{}
	var f *frameOf
	pointers := map[asm.Register]bool{} // copies of the frame pointer
	for _, i := range instructions {
		if name := i.Symbol(); name != "" && !strings.HasPrefix(name, "LBB") {
			f = &frameOf{calls: map[string]bool{}}
			frames[name] = f
		}
		op := i.OpCode
		switch {
		case op.Class().IsLoad() && i.Src == asm.R10, op.Class().IsStore() && i.Dst == asm.R10:
			f.octets = max(f.octets, -int(i.Offset))
		case op.Class().IsALU() && op.ALUOp() == asm.Mov && op.Source() == asm.RegSource:
			pointers[i.Dst] = i.Src == asm.R10
		case op.Class().IsALU() && op.ALUOp() == asm.Add && op.Source() == asm.ImmSource && pointers[i.Dst]:
			f.octets = max(f.octets, -int(i.Constant))
			pointers[i.Dst] = false
		case i.IsFunctionCall() || i.IsFunctionReference():
			f.calls[i.Reference()] = true
		}
	}
	return frames
}

func deepest(frames map[string]*frameOf, name string) (depth int, chain []string) {
	f, ok := frames[name]
	if !ok {
		return 0, nil
	}
	for callee := range f.calls {
		if d, c := deepest(frames, callee); d > depth {
			depth, chain = d, c
		}
	}
	return depth + (max(f.octets, 1)+31)/32*32, append([]string{name}, chain...)
}
