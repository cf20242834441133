// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"slices"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// allPorts is the number of ports, 0 included.
const allPorts = 65536

// change is a port at which a rule begins or ceases to be satisfied.
type change struct {
	port, rule int
	on         bool
}

// compilePorts returns the root page of a dimension, given the port set of
// each rule, or unused when no set restricts anything.
func (c *compiler) compilePorts(sets []rules.PortSet) (uint32, error) {
	start, changes := portChanges(sets)
	if len(changes) == 0 {
		return unused, nil
	}
	classOf := make([]uint16, allPorts)
	port := 0
	for len(changes) > 0 {
		class, err := c.class(start)
		if err != nil {
			return 0, err
		}
		for ; port < changes[0].port; port++ {
			classOf[port] = class
		}
		for len(changes) > 0 && changes[0].port == port {
			start.set(changes[0].rule, changes[0].on)
			changes = changes[1:]
		}
	}
	class, err := c.class(start)
	for ; port < allPorts; port++ {
		classOf[port] = class
	}
	return c.pages.addPorts(classOf), err
}

// portChanges returns the rules that port 0 satisfies and, in ascending order
// of ports, how that set changes. The ranges of a set neither overlap nor
// touch.
func portChanges(sets []rules.PortSet) (start bitmap, changes []change) {
	start = newBitmap(len(sets))
	for i, s := range sets {
		start.set(i, s.Contains(0))
		for _, r := range s.Ranges {
			changes = append(changes, change{int(r.First), i, !s.Not}, change{int(r.Last) + 1, i, s.Not})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return a.port - b.port })
	for len(changes) > 0 && changes[len(changes)-1].port == allPorts {
		changes = changes[:len(changes)-1]
	}
	return start, changes
}
