// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestErrorsNameWhatIsMissing(t *testing.T) {
	const (
		bpf     = 1 << unix.CAP_BPF
		net     = 1 << unix.CAP_NET_ADMIN
		perfmon = 1 << unix.CAP_PERFMON
		sys     = 1 << unix.CAP_SYS_ADMIN
		all     = bpf | net | perfmon
	)
	refusedByVerifier := fmt.Errorf("load: %w", &ebpf.VerifierError{Cause: unix.EINVAL})
	outOfBounds := &ebpf.VerifierError{Cause: unix.EACCES, Log: []string{"invalid access to packet"}}
	noFunction := &ebpf.VerifierError{Cause: unix.EINVAL, Log: []string{"kernel btf_id 0 is not a function"}}
	noLoop := &ebpf.VerifierError{Cause: unix.EINVAL, Log: []string{"; bpf_loop(0x10000 / CSUM_CHUNK, csum_next, &w, 0);", "57: (85) call unknown#181", "invalid func unknown#181"}}
	const tooOld = "this kernel lacks what the programs need (Linux 5.17 or later)"
	const selinux = "not permitted although all capabilities are there: a security module forbids it, as SELinux does where containers have the type container_t"
	for name, c := range map[string]struct {
		err          error
		capabilities uint64
		user         bool
		want         string
	}{
		"nothing there":          {unix.EPERM, 0, false, "missing CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"},
		"no BPF":                 {unix.EPERM, all &^ bpf, false, "missing CAP_BPF"},
		"no NET_ADMIN":           {fmt.Errorf("x: %w", unix.EPERM), all &^ net, false, "missing CAP_NET_ADMIN"},
		"no PERFMON":             {unix.EACCES, all &^ perfmon, false, "missing CAP_PERFMON"},
		"no PERFMON, verifier":   {refusedByVerifier, all &^ perfmon, false, "missing CAP_PERFMON"},
		"SYS_ADMIN has both":     {unix.EPERM, sys, false, "missing CAP_NET_ADMIN"},
		"SYS_ADMIN and the rest": {refusedByVerifier, sys | net, false, ""},
		"all there":              {unix.EPERM, all, false, "not permitted although all capabilities are there: seccomp, a security module or kernel lockdown forbids it"},
		"security module, map":   {fmt.Errorf("map create: %w", unix.EACCES), all, false, selinux},
		"security module, load":  {&ebpf.VerifierError{Cause: unix.EACCES}, all, false, selinux},
		"security module, less":  {unix.EACCES, all &^ net, false, "missing CAP_NET_ADMIN"},
		"verifier, no access":    {outOfBounds, all, false, ""},
		"Linux 5.15":             {noFunction, all, false, tooOld},
		"Linux 5.16":             {noLoop, all, false, tooOld},
		"Linux 5.16, no PERFMON": {noLoop, all &^ perfmon, false, "missing CAP_PERFMON"},
		"user namespace":         {unix.EPERM, all, true, "a user namespace can't load BPF programs (hostUsers: false)"},
		"verifier, all there":    {refusedByVerifier, all, false, ""},
		"no BPF in the kernel":   {unix.ENOSYS, all, false, "this kernel has no BPF (CONFIG_BPF_SYSCALL)"},
		"something else":         {errors.New("no interface eth9"), 0, false, ""},
		"not there":              {unix.ENOENT, 0, false, ""},
	} {
		if got := causeOf(c.err, c.capabilities, c.user); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestAnErrorIsExplainedOnce(t *testing.T) {
	first := Explain(unix.ENOSYS)
	later := fmt.Errorf("attach eth0: %w", errors.Join(first, errors.New("undo")))
	if first.Error() != "this kernel has no BPF (CONFIG_BPF_SYSCALL): "+unix.ENOSYS.Error() || Explain(later).Error() != later.Error() || !errors.Is(later, unix.ENOSYS) {
		t.Errorf("got %v, then %v", first, Explain(later))
	}
}

func TestWhatNeedsMoreIsNotExplained(t *testing.T) {
	err := fmt.Errorf("attach eth0: %w", &SysAdminError{"replacing it", unix.EPERM})
	want := "attach eth0: replacing it needs SYS_ADMIN: operation not permitted"
	for _, err := range []error{err, errors.Join(err)} {
		if got := Explain(err); got.Error() != want || !errors.Is(got, unix.EPERM) {
			t.Errorf("got %v, want %s", got, want)
		}
	}
}
