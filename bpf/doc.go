// SPDX-License-Identifier: Apache-2.0

// Package bpf holds the TC programs and what is generated from them: objects and
// their names by bpf2go, and from those, by hack/linkobject, what the kernel takes.
// Package datapath fills that with rules; use that.
//
// There are two objects for each direction: the plain ones remember no flow.
//
// The C code is one header per concern: parse, classify, then act (funnel,
// unfunnel, toobig, segment), and count. Two are ways around all of these for
// what comes most often: fast for segments, datagram.
package bpf

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types -type reason Ingress ingress.c -- -fno-strict-aliasing -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types Egress egress.c -- -fno-strict-aliasing -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types IngressPlain ingress.c -- -DWITHOUT_FLOWS -fno-strict-aliasing -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types EgressPlain egress.c -- -DWITHOUT_FLOWS -fno-strict-aliasing -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
//go:generate go run ../hack/linkobject Ingress Egress IngressPlain EgressPlain
