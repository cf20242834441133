// SPDX-License-Identifier: Apache-2.0

package kernelbtf

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// content is BTF with a structure like those of the kernel between many others.
func content(t *testing.T) []byte {
	t.Helper()
	octet, word := &btf.Int{Name: "unsigned char", Size: 1}, &btf.Int{Name: "unsigned int", Size: 4}
	inner := &btf.Struct{Size: 4, Members: []btf.Member{
		{Name: "before", Type: octet, BitfieldSize: 3},
		{Name: "flag", Type: &btf.Typedef{Name: "u8", Type: octet}, Offset: 3, BitfieldSize: 2},
	}}
	types := []btf.Type{
		&btf.Struct{Name: "other", Size: 4, Members: []btf.Member{{Name: "flag", Type: word}}},
		&btf.Struct{Name: "packet", Size: 24, Members: []btf.Member{
			{Name: "head", Type: &btf.Pointer{Target: octet}},
			{Type: &btf.Union{Size: 8, Members: []btf.Member{{Name: "length", Type: &btf.Const{Type: word}}, {Type: inner, Offset: 32}}}, Offset: 64},
			{Name: "list", Type: &btf.Array{Index: word, Type: word, Nelems: 2}, Offset: 128},
		}},
		&btf.Func{Name: "packet", Type: &btf.FuncProto{Return: &btf.Void{}}},
		&btf.Func{Name: "cast", Type: &btf.FuncProto{Return: &btf.Void{}, Params: []btf.FuncParam{{Name: "x", Type: word}}}},
	}
	for i := range 3 * typesPerMark {
		types = append(types, &btf.Enum{Name: fmt.Sprint("e", i), Size: 4, Values: []btf.EnumValue{{Name: fmt.Sprint("v", i)}}})
	}
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func find(raw []byte, members ...string) (*Types, error) {
	f, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	return f.Find("packet", members, "cast")
}

func TestFind(t *testing.T) {
	found, err := find(content(t), "head", "length", "flag")
	if err != nil {
		t.Fatal(err)
	}
	var s *btf.Struct
	if err := found.Spec.TypeByName("packet", &s); err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, m := range s.Members {
		got += fmt.Sprintf("%s %T %d:%d; ", m.Name, m.Type, m.Offset, m.BitfieldSize)
	}
	if want := "head *btf.Pointer 0:0; length *btf.Int 64:0; flag *btf.Int 99:2; "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFindSaysWhatItLacks(t *testing.T) {
	for member, want := range map[string]string{
		"tail": "packet has no tail",
		"list": "packet: list: not the BTF that this program knows",
	} {
		if _, err := find(content(t), member); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", member, err, want)
		}
	}
	f, err := Parse(content(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Find("packet", nil, "other"); err == nil {
		t.Error("a structure was taken for a function")
	}
}

// Types that end early are no cause of a panic, whether the header knows or not.
func TestFindInWhatIsCut(t *testing.T) {
	whole := content(t)
	length := int(binary.LittleEndian.Uint32(whole[12:]))
	for n := 0; n < length; n += 7 {
		if _, err := find(whole[:n], "head"); err == nil {
			t.Errorf("%d octets were enough", n)
		}
		short := append([]byte{}, whole...)
		binary.LittleEndian.PutUint32(short[12:], uint32(n))
		_, _ = find(short, "head", "flag")
	}
}
