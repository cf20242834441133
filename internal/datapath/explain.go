// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// needed are the capabilities without which nothing can be loaded and attached.
var needed = []struct {
	bit  uint
	name string
}{
	{unix.CAP_BPF, "CAP_BPF"},
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"},
	{unix.CAP_PERFMON, "CAP_PERFMON"},
}

// explained is an error with its cause in front.
type explained struct {
	cause string
	error
}

func (e *explained) Error() string { return e.cause + ": " + e.error.Error() }
func (e *explained) Unwrap() error { return e.error }

// SysAdminError is of what takes SYS_ADMIN, which attaching by itself does not. It
// says so itself, and Explain leaves it alone.
type SysAdminError struct {
	// What takes it.
	What string
	Err  error
}

func (e *SysAdminError) Error() string { return e.What + " needs SYS_ADMIN: " + e.Err.Error() }
func (e *SysAdminError) Unwrap() error { return e.Err }

// Explain puts in front of an error of loading or attaching what would have to
// change for it not to come back: a capability that is missing, a kernel without
// BPF or one that is too old. Other errors, those that say it themselves and those that were
// explained before stay as they are.
func Explain(err error) error {
	var before *explained
	var itself *SysAdminError
	if err == nil || errors.As(err, &before) || errors.As(err, &itself) {
		return err
	}
	if cause := causeOf(err, effective(), inUserNamespace()); cause != "" {
		return &explained{cause, err}
	}
	return err
}

// causeOf is Explain's decision, given the effective capabilities as a bit
// set.
func causeOf(err error, capabilities uint64, userNamespace bool) string {
	if errors.Is(err, unix.ENOSYS) {
		return "this kernel has no BPF (CONFIG_BPF_SYSCALL)"
	}
	if !refused(err) {
		return ""
	}
	if lacking := lacking(capabilities); len(lacking) > 0 {
		return "missing " + strings.Join(lacking, ", ")
	}
	switch {
	case tooOld(err):
		return "this kernel lacks what the programs need (Linux 5.17 or later)"
	case errors.Is(err, unix.EPERM) && userNamespace:
		return "a user namespace can't load BPF programs (hostUsers: false)"
	case errors.Is(err, unix.EPERM):
		return allThere + "seccomp, a security module or kernel lockdown forbids it"
	case errors.Is(err, unix.EACCES) && !judged(err):
		return allThere + "a security module forbids it, as SELinux does where containers have the type container_t"
	}
	return ""
}

const allThere = "not permitted although all capabilities are there: "

// refused reports whether the error can come from missing capabilities. What
// the verifier refuses without PERFMON it reports in many ways.
func refused(err error) bool {
	var verifier *ebpf.VerifierError
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.As(err, &verifier)
}

// judged reports whether the verifier said what is wrong with a program. Who refuses
// one before it, or a map, leaves no log.
func judged(err error) bool {
	var verifier *ebpf.VerifierError
	return errors.As(err, &verifier) && len(verifier.Log) > 0
}

// tooOld reports whether the verifier met a function of the kernel that it doesn't know:
// bpf_loop, or one that programs name but don't call, which no verifier before 5.16 takes.
// It goes by the log: what a kernel with backports has, its version doesn't say.
func tooOld(err error) bool {
	var verifier *ebpf.VerifierError
	return errors.As(err, &verifier) && slices.ContainsFunc(verifier.Log, func(line string) bool {
		return strings.HasSuffix(line, " is not a function") || strings.Contains(line, "invalid func unknown#")
	})
}

// lacking returns the names of the capabilities that are needed and not there.
// SYS_ADMIN includes BPF and PERFMON.
func lacking(capabilities uint64) []string {
	var names []string
	for _, c := range needed {
		implied := c.bit != unix.CAP_NET_ADMIN && capabilities&(1<<unix.CAP_SYS_ADMIN) != 0
		if capabilities&(1<<c.bit) == 0 && !implied {
			names = append(names, c.name)
		}
	}
	return names
}

// effective returns the effective capabilities of this thread as a bit set, all
// of them when they can't be read.
func effective() uint64 {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return ^uint64(0)
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective)
}

// inUserNamespace reports whether user ids are mapped: only the first user
// namespace maps all of them to themselves.
func inUserNamespace() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(text)), " ") != "0 0 4294967295"
}
