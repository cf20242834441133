// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// inFront describes what runs before our program on a hook, in running order.
// Each of these can end the chain, and then ours does not run: tcx programs
// come before all filters, and filters of the same priority added later come
// before earlier ones.
func inFront(l netlink.Link, h Hook) ([]string, error) {
	c, err := readChain(l, h)
	if err != nil {
		return nil, err
	}
	if own := c.firstOwn(); own >= 0 {
		return describeOthers(c.programs[:own]), nil
	}
	front := describeOthers(c.programs)
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
