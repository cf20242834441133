// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"slices"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// allPorts is the number of ports, 0 included.
const allPorts = 65536

// portsOf is a field of a rule.
type portsOf func(*rules.Rule) *rules.PortSet

// change is a port at which a rule begins or ceases to be satisfied; its order is
// that of the ports.
type change uint32

func changeAt(port, rule int) change { return change(port*MaxRules + rule) }

func (c change) port() int { return int(c) / MaxRules }
func (c change) rule() int { return int(c) % MaxRules }

// compilePorts returns the root page of a dimension, or unused when no rule
// restricts it.
func (c *compiler) compilePorts(rs rules.RuleSet, of portsOf) (uint32, error) {
	satisfied, changes := portChanges(rs, of)
	if len(changes) == 0 {
		return unused, nil
	}
	tree := portTree{pages: c.pages}
	for len(changes) > 0 {
		class, err := c.classes.number(satisfied)
		if err != nil {
			return 0, err
		}
		port := changes[0].port()
		tree.fill(port, class)
		for len(changes) > 0 && changes[0].port() == port {
			satisfied.flip(changes[0].rule())
			changes = changes[1:]
		}
	}
	class, err := c.classes.number(satisfied)
	tree.fill(allPorts, class)
	return tree.add(), err
}

// portChanges returns the rules that port 0 satisfies and, in ascending order
// of ports, how that set changes. The ranges of a set neither overlap nor
// touch.
func portChanges(rs rules.RuleSet, of portsOf) (*bitmap, []change) {
	start := newBitmap(len(rs))
	ranges := 0
	for i := range rs {
		ranges += len(of(&rs[i]).Ranges)
	}
	changes := make([]change, 0, 2*ranges)
	for i := range rs {
		s := of(&rs[i])
		if s.Contains(0) {
			start.flip(i)
		}
		for _, r := range s.Ranges {
			changes = append(changes, changeAt(int(r.First), i))
			if end := int(r.Last) + 1; end < allPorts {
				changes = append(changes, changeAt(end, i))
			}
		}
	}
	slices.Sort(changes)
	return start, changes
}
