// SPDX-License-Identifier: Apache-2.0

package kernelbtf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// content is BTF with functions between types of all kinds.
func content(t *testing.T) []byte {
	t.Helper()
	word := &btf.Int{Name: "unsigned int", Size: 4}
	variable := &btf.Var{Name: "v", Type: word, Linkage: btf.GlobalVar}
	proto := func(name string) *btf.FuncProto {
		return &btf.FuncProto{Return: &btf.Void{}, Params: []btf.FuncParam{{Name: name, Type: word}}}
	}
	types := []btf.Type{
		&btf.Struct{Name: "cast", Size: 8, Members: []btf.Member{
			{Name: "a", Type: &btf.Pointer{Target: &btf.Const{Type: word}}},
			{Name: "b", Type: &btf.Volatile{Type: &btf.Restrict{Type: word}}, Offset: 32},
		}},
		&btf.Union{Name: "u", Size: 4, Members: []btf.Member{{Name: "list", Type: &btf.Array{Index: word, Type: word, Nelems: 1}}}},
		&btf.Fwd{Name: "f", Kind: btf.FwdStruct}, &btf.Float{Name: "float", Size: 4},
		variable, &btf.Datasec{Name: ".data", Size: 4, Vars: []btf.VarSecinfo{{Type: variable, Size: 4}}},
		&btf.Enum{Name: "e", Size: 4, Values: []btf.EnumValue{{Name: "e0"}, {Name: "e1", Value: 1}}},
		&btf.Enum{Name: "e64", Size: 8, Values: []btf.EnumValue{{Name: "e2", Value: 1 << 40}}},
		&btf.Typedef{Name: "t", Type: &btf.TypeTag{Type: word, Value: "tag"}, Tags: []string{"decl"}},
		&btf.Func{Name: "other", Type: proto("cast"), Linkage: btf.StaticFunc},
		&btf.Func{Name: "cast", Type: proto("x"), Linkage: btf.StaticFunc},
	}
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, &btf.MarshalOptions{Order: binary.LittleEndian})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestFindAgreesWithTheLibrary(t *testing.T) {
	raw := content(t)
	all, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cast", "other"} {
		var function *btf.Func
		if err := all.TypeByName(name, &function); err != nil {
			t.Fatal(err)
		}
		want, err := all.TypeID(function)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := find(raw, name); err != nil || got != uint32(want) {
			t.Errorf("%s: got %d %v, want %d", name, got, err, want)
		}
	}
}

func TestFindSaysWhatIsNotThere(t *testing.T) {
	for name, want := range map[string]string{
		"nowhere": "the kernel has no nowhere",
		"float":   "the kernel has no function float",
	} {
		if _, err := find(content(t), name); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// Types that end early are no cause of a panic, whether the header knows or not.
func TestFindInWhatIsCut(t *testing.T) {
	whole := content(t)
	length := int(binary.LittleEndian.Uint32(whole[12:]))
	for n := range length - 1 {
		if _, err := find(whole[:n], "cast"); err == nil {
			t.Errorf("%d octets were enough", n)
		}
		short := append([]byte{}, whole...)
		binary.LittleEndian.PutUint32(short[12:], uint32(n))
		_, _ = find(short, "cast")
	}
}

// A kind that is not known has a length that is not known either.
func TestFindGoesPastNothingUnknown(t *testing.T) {
	raw := content(t)
	types := raw[headerLength:]
	binary.LittleEndian.PutUint32(types[4:], 31<<24)
	if _, err := find(raw, "cast"); err == nil || err.Error() != fmt.Sprint(errFormat) {
		t.Errorf("got %v, want %v", err, errFormat)
	}
}
