// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// needed are the capabilities that loading and attaching take.
var needed = []struct {
	bit  int
	name string
}{
	{unix.CAP_BPF, "CAP_BPF"},
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"},
	{unix.CAP_PERFMON, "CAP_PERFMON"},
}

// explain puts in front of an error what the kernel would not say: which
// capability is missing, or that it has no BPF.
func explain(err error) error {
	var verifier *ebpf.VerifierError
	refused := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.As(err, &verifier)
	switch {
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("this kernel has no BPF: %w", err)
	case !refused:
		return err
	}
	if missing := missingCapabilities(); len(missing) > 0 {
		return fmt.Errorf("missing %s: %w", strings.Join(missing, ", "), err)
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("loading BPF programs is not allowed here (user namespace, seccomp or kernel lockdown): %w", err)
	}
	return err
}

// missingCapabilities names what this thread lacks; nothing when it can't tell.
func missingCapabilities() []string {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return nil
	}
	effective, ok := effectiveCapabilities(string(status))
	if !ok {
		return nil
	}
	var missing []string
	for _, c := range needed {
		if effective>>c.bit&1 == 0 {
			missing = append(missing, c.name)
		}
	}
	return missing
}

func effectiveCapabilities(status string) (uint64, bool) {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			effective, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			return effective, err == nil
		}
	}
	return 0, false
}
