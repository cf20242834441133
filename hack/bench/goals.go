// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/sfunnel-io/funnel-operator/hack/benchpage"
)

// goals are all of this run.
func (p *page) goals() []benchpage.Goal {
	var all []benchpage.Goal
	for _, f := range p.traffic {
		for _, mode := range f.modes {
			if g, ok := f.goal(mode); ok {
				all = append(all, g)
			}
		}
	}
	if p.lookups != nil {
		all = append(all, p.lookups.goals()...)
	}
	for _, c := range p.attach {
		if g, ok := c.goal(); ok {
			all = append(all, g)
		}
	}
	for _, l := range p.loading {
		all = append(all, l.goal())
	}
	for _, m := range p.many {
		if g, ok := m.goal(); ok {
			all = append(all, g)
		}
	}
	return all
}

// goal of a mode, if it has one.
func (f figures) goal(mode string) (benchpage.Goal, bool) {
	bound, ok := f.row.targets[mode]
	return benchpage.Goal{
		What:     fmt.Sprintf("%s, %s, ratio to native", f.row.name, mode),
		Measured: f.ratio(mode).Median(), Bound: bound,
	}, ok
}

// goals of the lookup: that the number of rules hardly matters, and that a packet
// which no rule matches hardly notices.
func (l *lookups) goals() []benchpage.Goal {
	most := ruleCounts[len(ruleCounts)-1]
	return []benchpage.Goal{
		{
			What:     fmt.Sprintf("lookup of the last of %d rules, ratio to 5", most),
			Measured: l.cost[most][lastRule].Over(l.cost[5][lastRule]).Median(), Bound: 1.5, AtMost: true,
		},
		{
			What:     fmt.Sprintf("no match among %d rules, over an empty program", most),
			Measured: l.cost[most][noRule].Minus(l.empty).Median(), Bound: 10, AtMost: true, Unit: " ns",
		},
	}
}

func (c attachCost) goal() (benchpage.Goal, bool) {
	return benchpage.Goal{
		What:     fmt.Sprintf("attach of %d rules", c.rules),
		Measured: c.wall.Median(), Bound: 50, AtMost: true, Unit: " ms",
	}, c.rules == 1000 && !c.replace
}

func (m *manyResult) goal() (benchpage.Goal, bool) {
	return benchpage.Goal{
		What:     fmt.Sprintf("broken of %d connections at once, %s", manyConnections, m.mode),
		Measured: float64(m.broken), AtMost: true,
	}, m.mode == inline
}
