// SPDX-License-Identifier: Apache-2.0

// Command linkobject makes of BPF objects what the kernel takes: the instructions
// with all functions in their places, the types of the functions, and which
// instructions name a map or depend on the kernel. It saves the attacher the
// reading of ELF and of its types, which takes longer than some verifying. What is
// there for people only, the lines of the source, it leaves out.
//
// For each name it reads what bpf2go made of it, name_bpfel.o, adds the result to that
// as a section, and writes name_linked_bpfel.go, which says where it is.
//
// usage: linkobject NAME…
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	for _, name := range os.Args[1:] {
		if err := link(name); err != nil {
			fmt.Fprintf(os.Stderr, "linkobject: %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

func link(name string) error {
	base := strings.ToLower(name)
	object := base + "_bpfel.o"
	l, err := readObject(object)
	if err != nil {
		return err
	}
	at, err := addSection(object, l.image())
	if err != nil {
		return err
	}
	return l.describe(name, base+"_linked_bpfel.go", at)
}
