// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/datapath"
)

// Where our filters sit. No priority runs earlier than 1. The handle is ours
// within that priority, so that a filter can be replaced in place and others
// may have the same priority.
const (
	priority = 1
	handle   = 0x5f6e
)

// parent returns the half of the clsact qdisc that a hook is.
func (h Hook) parent() uint32 {
	if h == Egress {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

// ensureClsact gives an interface the qdisc that filters hang on and returns
// how to undo that when it had none.
func ensureClsact(link netlink.Link) (func() error, error) {
	there, err := checkQdiscs(link)
	if err != nil || there {
		return nil, err
	}
	if err := netlink.QdiscAdd(clsact(link)); err != nil {
		return nil, fmt.Errorf("add clsact qdisc: %w", kernelLacks(err, "CONFIG_NET_SCH_INGRESS (module sch_ingress)"))
	}
	return func() error { return removeEmptyClsact(link) }, nil
}

func clsact(link netlink.Link) netlink.Qdisc {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: link.Attrs().Index,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}}
}

// checkQdiscs reports whether an interface has clsact. An ingress qdisc takes its
// place and is an error.
func checkQdiscs(link netlink.Link) (bool, error) {
	qdiscs, err := dump(func() ([]netlink.Qdisc, error) { return netlink.QdiscList(link) })
	if err != nil {
		return false, fmt.Errorf("list qdiscs: %w", err)
	}
	for _, q := range qdiscs {
		switch q.Type() {
		case "clsact":
			return true, nil
		case "ingress":
			return false, errIngressQdisc
		}
	}
	return false, nil
}

var errIngressQdisc = errors.New(`an "ingress" qdisc is in the way of clsact; replace it by clsact, which can do the same and more`)

// removeEmptyClsact removes the qdisc that our filters hung on unless somebody
// else has a filter there. It is looked for first: the kernel takes whatever has its
// handle, an ingress qdisc, too.
func removeEmptyClsact(link netlink.Link) error {
	there, err := checkQdiscs(link)
	if errors.Is(err, errIngressQdisc) || err == nil && !there {
		return nil
	}
	if err != nil {
		return err
	}
	for _, h := range []Hook{Ingress, Egress} {
		filters, err := listFilters(link, h)
		if err != nil || len(filters) > 0 {
			return err
		}
	}
	if err := netlink.QdiscDel(clsact(link)); err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove clsact qdisc: %w", err)
	}
	return nil
}

// listFilters returns all filters of a hook in the order in which they run.
func listFilters(link netlink.Link, h Hook) ([]netlink.Filter, error) {
	filters, err := dump(func() ([]netlink.Filter, error) { return netlink.FilterList(link, h.parent()) })
	if errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s filters: %w", h, err)
	}
	return filters, nil
}

// ownFilter returns whether a filter is one of ours, and for what hook.
func ownFilter(f netlink.Filter) (*netlink.BpfFilter, Name, bool) {
	b, ok := f.(*netlink.BpfFilter)
	if !ok {
		return nil, Name{}, false
	}
	name, ok := parseName(b.Name)
	return b, name, ok
}

// putFilter puts a program on a hook, in place of ours that is there. A filter of
// somebody else under our handle is an error.
func putFilter(link netlink.Link, p *ebpf.Program, name Name) (step, error) {
	before, err := ownAt(link, name.Hook)
	if err != nil {
		return step{}, err
	}
	filter := newFilter(link, name.Hook, p.FD(), name.String())
	done := step{func() error { return deleteFilter(filter) }, func() error { return nil }}
	if before != nil {
		done = restorer(filter, before, name)
	}
	if err := netlink.FilterReplace(filter); err != nil {
		return step{}, fmt.Errorf("put filter: %w", kernelLacks(err, "CONFIG_NET_CLS_BPF (module cls_bpf)"))
	}
	return done, nil
}

func newFilter(link netlink.Link, h Hook, fd int, name string) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: link.Attrs().Index,
			Parent:    h.parent(),
			Handle:    handle,
			Protocol:  unix.ETH_P_ALL,
			Priority:  priority,
		},
		Fd:           fd,
		Name:         name,
		DirectAction: true,
	}
}

// ownAt returns our filter on a hook, or nil.
func ownAt(link netlink.Link, h Hook) (*netlink.BpfFilter, error) {
	filters, err := listFilters(link, h)
	if err != nil {
		return nil, err
	}
	for _, f := range filters {
		a := f.Attrs()
		if a.Priority != priority || a.Chain != nil && *a.Chain != 0 { // each chain has priorities of its own
			continue
		}
		if f.Type() != "bpf" || a.Protocol != unix.ETH_P_ALL {
			return nil, fmt.Errorf("the %s hook has a filter of somebody else where ours has to be: %s, protocol %#04x; a priority is for one kind and one protocol, so give that one another priority",
				h, describeFilter(f), a.Protocol)
		}
		if a.Handle != handle {
			continue
		}
		if own, _, ok := ownFilter(f); ok {
			return own, nil
		}
		return nil, fmt.Errorf("the %s hook has a %s filter of somebody else with our priority %d and handle %#x", h, f.Type(), priority, handle)
	}
	return nil, nil
}

// restorer returns how to put back the program that a filter takes the place
// of. Only who has SYS_ADMIN can get hold of that program; for others the new
// one stays, because no program at all would be worse for the flows.
func restorer(filter, before *netlink.BpfFilter, name Name) step {
	old, err := ebpf.NewProgramFromID(ebpf.ProgramID(before.Id))
	if err != nil {
		return step{stays: func() error {
			return fmt.Errorf("%s: %w: %w", name.Hook, errStays, &datapath.SysAdminError{What: "keeping the one before", Err: err})
		}}
	}
	return step{stays: func() error { return nil }, back: func() error {
		defer old.Close()
		again := *filter
		again.Fd, again.Name = old.FD(), before.Name
		if err := netlink.FilterReplace(&again); err != nil {
			return fmt.Errorf("put the program before back: %w", err)
		}
		return nil
	}}
}

// deleteFilter removes a filter; one that is gone is no error.
func deleteFilter(f *netlink.BpfFilter) error {
	err := netlink.FilterDel(f)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove filter %s: %w", f.Name, err)
	}
	return nil
}
