// SPDX-License-Identifier: Apache-2.0

// Package kernelbtf finds single types in the kernel's type information (BTF)
// without reading the other hundred thousand, which takes longer than loading a
// program.
//
// It knows as much of the format (Documentation/bpf/btf.rst of the kernel) as that
// takes: how long each kind of type is, and what members a structure has. What it
// does not know is an error, upon which the caller can read everything.
package kernelbtf
