// SPDX-License-Identifier: Apache-2.0

// Package kernelbtf finds a function in the kernel's type information (BTF) without
// reading the other hundred thousand types, which takes longer than loading a
// program.
//
// It knows as much of the format (Documentation/bpf/btf.rst of the kernel) as that
// takes: how long each kind of type is. What it does not know is an error.
package kernelbtf
