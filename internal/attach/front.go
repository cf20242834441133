// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inFront describes what runs before our filter on a hook, in running order.
// Each of these can end the chain, and then ours does not run: tcx programs
// come before all filters, and filters of the same priority added later come
// before earlier ones.
func inFront(l netlink.Link, h Hook) ([]string, error) {
	front, err := tcxPrograms(l, h)
	if err != nil {
		return nil, err
	}
	filters, err := listFilters(l, h)
	if err != nil {
		return nil, err
	}
	var before []string
	for _, f := range filters {
		if _, _, ours := ownFilter(f); ours {
			return append(front, before...), nil
		}
		before = append(before, describeFilter(f))
	}
	return front, nil
}

func describeFilter(f netlink.Filter) string {
	a := f.Attrs()
	text := fmt.Sprintf("%s filter, priority %d, handle %#x", f.Type(), a.Priority, a.Handle)
	if b, ok := f.(*netlink.BpfFilter); ok && b.Name != "" {
		text += " (" + b.Name + ")"
	}
	return text
}

// tcxPrograms describes the tcx programs of a hook. Kernels before 6.6 have
// none and refuse the question.
func tcxPrograms(l netlink.Link, h Hook) ([]string, error) {
	at := ebpf.AttachTCXIngress
	if h == Egress {
		at = ebpf.AttachTCXEgress
	}
	result, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: at})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for tcx programs: %w", err)
	}
	var found []string
	for _, p := range result.Programs {
		found = append(found, fmt.Sprintf("tcx program %d%s", p.ID, programName(p.ID)))
	}
	return found, nil
}

// programName returns " (name)" where we may look (SYS_ADMIN), else nothing.
func programName(id ebpf.ProgramID) string {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return ""
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil || info.Name == "" {
		return ""
	}
	return " (" + info.Name + ")"
}
