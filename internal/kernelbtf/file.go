// SPDX-License-Identifier: Apache-2.0

package kernelbtf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// The kinds of include/uapi/linux/btf.h that are looked into.
const (
	kindInt       = 1
	kindPointer   = 2
	kindStruct    = 4
	kindUnion     = 5
	kindTypedef   = 8
	kindVolatile  = 9
	kindConst     = 10
	kindFunc      = 12
	kindTypeTag   = 18
	kindsKnown    = 20
	typeLength    = 12
	magic         = 0xeb9f
	headerLength  = 24
	typesPerMark  = 256
	bytesOfMember = 12
)

// extra is how many bytes follow a type of each kind, and follow it for each of
// its members.
var extra = [kindsKnown]struct{ once, each int }{
	1: {once: 4}, 3: {once: 12}, 4: {each: 12}, 5: {each: 12}, 6: {each: 8}, 13: {each: 8},
	14: {once: 4}, 15: {each: 12}, 17: {once: 4}, 19: {each: 12},
}

var errFormat = errors.New("not the BTF that this program knows")

// File is the BTF of a kernel.
type File struct {
	types, strings []byte
	marks          []int // where types 1, 1+typesPerMark, … begin
}

// raw is one type.
type raw struct {
	id         uint32
	name, info uint32
	size       uint32 // or the id of another type
	rest       []byte
}

func (r raw) kind() uint32   { return r.info >> 24 & 0x1f }
func (r raw) members() int   { return int(r.info & 0xffff) }
func (r raw) bitfield() bool { return r.info>>31 == 1 }

// Parse looks at the beginning of types and strings. The file keeps the content.
func Parse(content []byte) (*File, error) {
	if len(content) < headerLength || binary.LittleEndian.Uint16(content) != magic {
		return nil, errFormat
	}
	number := func(at int) int { return int(binary.LittleEndian.Uint32(content[at:])) }
	body := number(4)
	types, strings := body+number(8), body+number(16)
	f := &File{}
	var ok bool
	if f.types, ok = cut(content, types, number(12)); !ok {
		return nil, errFormat
	}
	if f.strings, ok = cut(content, strings, number(20)); !ok {
		return nil, errFormat
	}
	return f, nil
}

func cut(content []byte, from, length int) ([]byte, bool) {
	if from > len(content) || length > len(content)-from {
		return nil, false
	}
	return content[from : from+length], true
}

// at reads the type at an offset and returns where the next one is.
func (f *File) at(offset int, id uint32) (raw, int, error) {
	head, ok := cut(f.types, offset, typeLength)
	if !ok {
		return raw{}, 0, errFormat
	}
	r := raw{id: id, name: binary.LittleEndian.Uint32(head), info: binary.LittleEndian.Uint32(head[4:]), size: binary.LittleEndian.Uint32(head[8:])}
	if r.kind() == 0 || r.kind() >= kindsKnown {
		return r, 0, errFormat
	}
	e := extra[r.kind()]
	if r.rest, ok = cut(f.types, offset+typeLength, e.once+e.each*r.members()); !ok {
		return r, 0, errFormat
	}
	return r, offset + typeLength + len(r.rest), nil
}

// find looks for types by kind and name, all in one go, and marks on its way where
// types are. What is not there has the id 0.
func (f *File) find(wanted ...named) ([]raw, error) {
	found := make([]raw, len(wanted))
	names := make([]uint32, len(wanted))
	for i, w := range wanted {
		names[i] = f.nameOf(w.name)
	}
	f.marks = nil
	id := uint32(1)
	for offset := 0; offset < len(f.types); id++ {
		if (id-1)%typesPerMark == 0 {
			f.marks = append(f.marks, offset)
		}
		r, next, err := f.at(offset, id)
		if err != nil {
			return nil, err
		}
		for i, name := range names {
			if name != 0 && r.name == name && r.kind() == wanted[i].kind {
				found[i] = r
			}
		}
		offset = next
	}
	return found, nil
}

// named is a type that is looked for.
type named struct {
	kind uint32
	name string
}

// nameOf returns where a name stands among the strings, 0 if it does not. Names
// stand there once.
func (f *File) nameOf(name string) uint32 {
	return uint32(bytes.Index(f.strings, []byte("\x00"+name+"\x00")) + 1)
}

func (f *File) string(offset uint32) string {
	if int(offset) >= len(f.strings) {
		return ""
	}
	text, _, _ := bytes.Cut(f.strings[offset:], []byte{0})
	return string(text)
}

// byID returns a type after find has marked where they are.
func (f *File) byID(id uint32) (raw, error) {
	if id == 0 || int(id-1)/typesPerMark >= len(f.marks) {
		return raw{}, fmt.Errorf("type %d: %w", id, errFormat)
	}
	mark := (id - 1) / typesPerMark
	offset := f.marks[mark]
	for at := mark*typesPerMark + 1; ; at++ {
		r, next, err := f.at(offset, at)
		if err != nil || at == id {
			return r, err
		}
		offset = next
	}
}
