// SPDX-License-Identifier: Apache-2.0

package kernelbtf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	magic        = 0xeb9f
	headerLength = 24
	typeLength   = 12
	kindFunction = 12
)

// extra is how many octets follow a type of each kind, and follow it for each of its
// members. Kinds are those of include/uapi/linux/btf.h.
var extra = [32]struct {
	known      bool
	once, each uint32
}{
	1: {true, 4, 0}, 2: {known: true}, 3: {true, 12, 0}, 4: {true, 0, 12}, 5: {true, 0, 12}, 6: {true, 0, 8}, 7: {known: true},
	8: {known: true}, 9: {known: true}, 10: {known: true}, 11: {known: true}, 12: {known: true}, 13: {true, 0, 8},
	14: {true, 4, 0}, 15: {true, 0, 12}, 16: {known: true}, 17: {true, 4, 0}, 18: {known: true}, 19: {true, 0, 12},
}

var errFormat = errors.New("not the BTF that this program knows")

// Function returns the number of a function among the types of the running kernel.
func Function(name string) (uint32, error) {
	file, err := os.Open("/sys/kernel/btf/vmlinux")
	if err != nil {
		return 0, err
	}
	defer file.Close()
	content, done, err := contentOf(file)
	if err != nil {
		return 0, err
	}
	defer done()
	return find(content, name)
}

// contentOf maps the file where the kernel can do that, since Linux 6.16, and
// reads it elsewhere.
func contentOf(file *os.File) ([]byte, func(), error) {
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	content, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err == nil {
		return content, func() { _ = unix.Munmap(content) }, nil
	}
	content, err = os.ReadFile(file.Name())
	return content, func() {}, err
}

// find counts types up to the function of that name.
func find(content []byte, name string) (uint32, error) {
	types, strings, err := sections(content)
	if err != nil {
		return 0, err
	}
	wanted := uint32(bytes.Index(strings, []byte("\x00"+name+"\x00")) + 1) // names stand there once
	if wanted == 0 {
		return 0, fmt.Errorf("the kernel has no %s", name)
	}
	for id := uint32(1); len(types) >= typeLength; id++ {
		info := binary.LittleEndian.Uint32(types[4:])
		kind := info >> 24 & 0x1f
		if kind == kindFunction && binary.LittleEndian.Uint32(types) == wanted {
			return id, nil
		}
		e := extra[kind]
		length := typeLength + e.once + e.each*(info&0xffff)
		if !e.known || int(length) > len(types) {
			return 0, errFormat
		}
		types = types[length:]
	}
	return 0, fmt.Errorf("the kernel has no function %s", name)
}

// sections returns the types and their strings.
func sections(content []byte) (types, strings []byte, err error) {
	if len(content) < headerLength || binary.LittleEndian.Uint16(content) != magic {
		return nil, nil, errFormat
	}
	number := func(at int) int { return int(binary.LittleEndian.Uint32(content[at:])) }
	body := number(4)
	types, ok := cut(content, body+number(8), number(12))
	strings, okStrings := cut(content, body+number(16), number(20))
	if !ok || !okStrings {
		return nil, nil, errFormat
	}
	return types, strings, nil
}

func cut(content []byte, from, length int) ([]byte, bool) {
	if from > len(content) || length > len(content)-from {
		return nil, false
	}
	return content[from : from+length], true
}
