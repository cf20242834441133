// SPDX-License-Identifier: Apache-2.0

package smoke

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
)

// TestFeatures logs what this kernel has of what the datapath uses or would use
// where it can, and fails when something is missing that it cannot do without.
func TestFeatures(t *testing.T) {
	requireRoot(t)
	helper := func(f asm.BuiltinFunc) func() bool {
		return func() bool { return features.HaveProgramHelper(ebpf.SchedCLS, f) == nil }
	}
	for _, feature := range []struct {
		name   string
		needed bool
		have   func() bool
	}{
		{"BTF of the kernel", true, haveBTF},
		{"bounded loops", true, func() bool { return features.HaveBoundedLoops() == nil }},
		{"instruction set v3", true, func() bool { return features.HaveV3ISA() == nil }},
		{"bpf_skb_adjust_room", true, helper(asm.FnSkbAdjustRoom)},
		{"bpf_csum_diff, bpf_csum_update", true, helper(asm.FnCsumUpdate)},
		{"bpf_csum_level", true, helper(asm.FnCsumLevel)},
		{"bpf_check_mtu", true, helper(asm.FnCheckMtu)},
		{"bpf_redirect", true, helper(asm.FnRedirect)},
		{"bpf_loop", false, helper(asm.FnLoop)},
		{"bpf_cast_to_kern_ctx (checksum state)", false, haveKfunc("bpf_cast_to_kern_ctx")},
		{"bpf_dynptr_from_skb", false, haveKfunc("bpf_dynptr_from_skb")},
		{"bpf_iter_num_new (open-coded loops)", false, haveKfunc("bpf_iter_num_new")},
		{"BPF_F_TEST_SKB_CHECKSUM_COMPLETE", false, haveChecksumComplete(t)},
		{"BIG TCP over IPv4", false, haveField("net_device", "gso_ipv4_max_size")},
		{"tcx", false, haveField("net_device", "tcx_ingress")},
	} {
		have := feature.have()
		t.Logf("feature: %-40s %t", feature.name, have)
		if feature.needed && !have {
			t.Errorf("this kernel lacks %s", feature.name)
		}
	}
}

func haveBTF() bool {
	_, err := btf.LoadKernelSpec()
	return err == nil
}

func haveKfunc(name string) func() bool {
	return func() bool {
		spec, err := btf.LoadKernelSpec()
		if err != nil {
			return false
		}
		var function *btf.Func
		return spec.TypeByName(name, &function) == nil
	}
}

func haveField(structure, field string) func() bool {
	return func() bool {
		spec, err := btf.LoadKernelSpec()
		if err != nil {
			return false
		}
		var found *btf.Struct
		if spec.TypeByName(structure, &found) != nil {
			return false
		}
		for _, member := range found.Members {
			if member.Name == field {
				return true
			}
		}
		return false
	}
}

// haveChecksumComplete tries the flag (include/uapi/linux/bpf.h): kernels that
// do not know it refuse the run.
func haveChecksumComplete(t *testing.T) func() bool {
	const flag = 1 << 2
	return func() bool {
		program, _ := mustDropper(t)
		_, err := program.Run(&ebpf.RunOptions{Data: frame(53), Flags: flag})
		return err == nil
	}
}
