// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
)

// ownProgram is a program of ours on a hook.
type ownProgram struct {
	name Name
	id   ebpf.ProgramID
	// filter attaches it; nil: tcx does.
	filter *netlink.BpfFilter
}

// ownPrograms returns the programs of ours on a hook in the order in which they
// run.
func ownPrograms(link netlink.Link, h Hook) ([]ownProgram, error) {
	chain, err := readChain(link, h)
	if err != nil {
		return nil, err
	}
	filters, err := ownFilters(link, h)
	return append(chain.own(), filters...), err
}

// ownFilters returns those that filters attach.
func ownFilters(link netlink.Link, h Hook) ([]ownProgram, error) {
	filters, err := listFilters(link, h)
	if err != nil {
		return nil, err
	}
	var found []ownProgram
	for _, f := range filters {
		if own, name, ok := ownFilter(f); ok {
			found = append(found, ownProgram{name, ebpf.ProgramID(own.Id), own})
		}
	}
	return found, nil
}

// remove takes a program off its hook; one that is gone is no error.
func (p ownProgram) remove(link netlink.Link, h Hook) error {
	if p.filter != nil {
		return deleteFilter(p.filter)
	}
	return detachTCX(link, h, p)
}

// removeOwn removes all programs of ours from a hook and returns their names.
func removeOwn(link netlink.Link, h Hook) ([]Name, error) {
	programs, err := ownPrograms(link, h)
	if err != nil {
		return nil, err
	}
	var removed []Name
	for _, p := range programs {
		if err := p.remove(link, h); err != nil {
			return removed, err
		}
		removed = append(removed, p.name)
	}
	return removed, nil
}

// attachesByTCX says how programs are attached to a link: by tcx where the kernel
// has it (Linux 6.6), which costs packets less than a filter does. Filters of ours
// that are there are replaced by filters; interfaces that may be handed on get them.
func attachesByTCX(link netlink.Link) (bool, error) {
	if !hasTCX(link) || handedOn(link) {
		return false, nil
	}
	for _, h := range []Hook{Ingress, Egress} {
		filters, err := ownFilters(link, h)
		if err != nil || len(filters) > 0 {
			return false, err
		}
	}
	return true, nil
}

// handedOn reports whether a device outlives its network namespace: the kernel, or a
// CNI plugin, gives a piece of hardware back to the host, and then it may come to
// another pod. What tcx attached goes with it; filters do not.
func handedOn(link netlink.Link) bool {
	if link.Type() != "device" { // of a kind that dies with its namespace
		return false
	}
	host, err := InHostNetwork()
	return err != nil || !host
}
