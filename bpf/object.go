// SPDX-License-Identifier: Apache-2.0

package bpf

import "github.com/cilium/ebpf"

// Object is a program that is linked already. Package datapath fills in what
// depends on the rules and on the kernel, and loads it.
type Object struct {
	// Program is its name.
	Program string
	// Instructions are 8 octets each; the functions that the program calls follow it.
	// Where an instruction takes a map, a value in it or a function of the kernel, its
	// number is a place in Maps or in KernelFunctions; constants are left open as package
	// fold says. Copy them before you do.
	Instructions []byte
	// Types are the BTF of the functions, Functions (struct bpf_func_info) where each
	// of them begins. Relocations (struct bpf_core_relo) are what the kernel adapts to
	// its own structures.
	Types, Functions, Relocations []byte
	Maps                          []Map
	// Constants are the section of constants, which has no map.
	Constants string
	Variables []Variable
	// KernelFunctions by their names. Programs do without those that the kernel has
	// not got.
	KernelFunctions []string
}

// Map is a map of an object before it is sized.
type Map struct {
	ebpf.MapSpec
	// Content is what the map of a data section begins with.
	Content string
}

// Variable is a place in a data section, whose map has the same name.
type Variable struct {
	Name, Map    string
	Offset, Size uint32
}
