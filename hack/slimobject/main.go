// SPDX-License-Identifier: Apache-2.0

// Command slimobject takes out of BPF objects what is there for people only: the
// line of the source that each instruction comes from, and the labels of jumps.
// That is a third of what there is to read, and to load into the kernel, whenever
// rules are attached.
//
// usage: slimobject OBJECT…
package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const objcopy = "llvm-objcopy-14"

func main() {
	for _, file := range os.Args[1:] {
		if err := slim(file); err != nil {
			fmt.Fprintf(os.Stderr, "slimobject: %s: %v\n", file, err)
			os.Exit(1)
		}
	}
}

func slim(file string) error {
	info, err := typeInfo(file)
	if err != nil {
		return err
	}
	if info, err = withoutLines(info); err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "slimobject-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	section := filepath.Join(folder, "section")
	if err := os.WriteFile(section, info, 0o600); err != nil {
		return err
	}
	cmd := exec.Command(objcopy, "--update-section=.BTF.ext="+section, "--remove-section=.rel.BTF.ext",
		"--wildcard", "--strip-symbol=LBB*", file)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", objcopy, err, text)
	}
	return nil
}

func typeInfo(file string) ([]byte, error) {
	object, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer object.Close()
	section := object.Section(".BTF.ext")
	if section == nil {
		return nil, fmt.Errorf("no .BTF.ext")
	}
	return section.Data()
}

// header is struct btf_ext_header of libbpf; offsets count from its end.
type header struct {
	Magic            uint16
	Version, Flags   uint8
	Length           uint32
	Functions, Lines part
	Relocations      part
}

type part struct{ Offset, Length uint32 }

// withoutLines leaves of the lines how long a record would be.
func withoutLines(info []byte) ([]byte, error) {
	var h header
	if err := binary.Read(bytes.NewReader(info), binary.LittleEndian, &h); err != nil {
		return nil, err
	}
	if int(h.Length) != binary.Size(h) {
		return nil, fmt.Errorf(".BTF.ext has a header of %d octets", h.Length)
	}
	h.Lines.Length = min(h.Lines.Length, 4)
	var body []byte
	for _, p := range []*part{&h.Functions, &h.Lines, &h.Relocations} {
		from := h.Length + p.Offset
		p.Offset = uint32(len(body))
		body = append(body, info[from:from+p.Length]...)
	}
	var out bytes.Buffer
	if err := binary.Write(&out, binary.LittleEndian, h); err != nil {
		return nil, err
	}
	return append(out.Bytes(), body...), nil
}
