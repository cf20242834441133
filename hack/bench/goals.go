// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// goal is a figure that is to be reached, and what was measured.
type goal struct {
	what     string
	measured float64
	bound    float64
	atMost   bool // else at least
	unit     string
}

func (g goal) met() bool {
	if g.atMost {
		return g.measured <= g.bound
	}
	return g.measured >= g.bound
}

func (g goal) String() string {
	sign, verdict := "≥", "not met"
	if g.atMost {
		sign = "≤"
	}
	if g.met() {
		verdict = "met"
	}
	return fmt.Sprintf("%s %.4g%s: %s", sign, g.bound, g.unit, verdict)
}

// goals are all of this run.
func (p *page) goals() []goal {
	var all []goal
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
	if p.many != nil {
		all = append(all, p.many.goal())
	}
	return all
}

func goalsText(text *strings.Builder, all []goal) {
	fmt.Fprintf(text, "\n## Targets\n\n| | measured | target |\n|---|---:|---|\n")
	for _, g := range all {
		fmt.Fprintf(text, "| %s | %.3g%s | %s |\n", g.what, g.measured, g.unit, g)
	}
}

// goal of a mode, if it has one.
func (f figures) goal(mode string) (goal, bool) {
	bound, ok := f.row.targets[mode]
	return goal{
		what:     fmt.Sprintf("%s, %s, ratio to native", f.row.name, mode),
		measured: f.ratio(mode).median(), bound: bound,
	}, ok
}

// goals of the lookup: that the number of rules hardly matters, and that a packet
// which no rule matches hardly notices.
func (l *lookups) goals() []goal {
	most := ruleCounts[len(ruleCounts)-1]
	return []goal{
		{
			what:     fmt.Sprintf("lookup of the last of %d rules, ratio to 5", most),
			measured: l.cost[most][lastRule].over(l.cost[5][lastRule]).median(), bound: 1.5, atMost: true,
		},
		{
			what:     fmt.Sprintf("no match among %d rules, over an empty program", most),
			measured: l.cost[most][noRule].minus(l.empty).median(), bound: 10, atMost: true, unit: " ns",
		},
	}
}

func (c attachCost) goal() (goal, bool) {
	return goal{
		what:     fmt.Sprintf("attach of %d rules", c.rules),
		measured: c.wall.median(), bound: 50, atMost: true, unit: " ms",
	}, c.rules == 1000 && !c.replace
}

func (m *manyResult) goal() goal {
	return goal{
		what:     fmt.Sprintf("broken of %d connections at once, inline", manyConnections),
		measured: float64(m.broken), atMost: true,
	}
}
