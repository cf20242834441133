// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"slices"
)

// follow finds the receiver's rules for packets with one outer header, in the
// order in which it looks at them. Rules that ask for addresses may take a part
// only, and leave the rest to those below.
func (w way) follow(f *Flow, r *Rule, outer Rule) {
	var partly []int
	for j := range w.to.Ingress {
		taker := w.known(w.to.Ingress[j])
		if taker.Pushed && !outer.Pushed || !overlaps(&taker, &outer) {
			continue
		}
		faults := undoing(r, &w.to.Ingress[j])
		whole := covers(&taker, &outer) && !w.asks(j, r)
		switch {
		case whole:
			f.take(j, faults)
			return
		case len(faults) == 0:
			f.take(j, nil)
			partly = append(partly, j)
			f.note("rule %d takes only what matches %s", j+1, conditions(&w.to.Ingress[j]))
		default:
			f.note("what matches %s goes to rule %d instead: %s", conditions(&w.to.Ingress[j]), j+1, faults[0].Message)
		}
	}
	switch {
	case len(partly) == 0:
		w.nearest(f, r, outer)
	case w.leaves(outer, partly):
		f.miss(Address, "no rule takes the rest of %s", conditions(&outer))
	}
}

// known is the rule without the address that it sees translated.
func (w way) known(r Rule) Rule {
	if w.back {
		r.Source = AddrSet{}
	} else {
		r.Destination = AddrSet{}
	}
	return r
}

// asks reports whether rule j restricts the translated address, and not to one
// that the sender's rule asks for as well.
func (w way) asks(j int, r *Rule) bool {
	if w.back {
		return !w.to.Ingress[j].Source.covers(r.Source)
	}
	return !w.to.Ingress[j].Destination.covers(r.Destination)
}

// leaves reports whether the sender restricts the address that stays, and the
// rules leave some of it.
func (w way) leaves(outer Rule, rules []int) bool {
	if len(outer.Source.Prefixes)+len(outer.Destination.Prefixes) == 0 {
		return false
	}
	return !slices.ContainsFunc(rules, func(j int) bool {
		taker := w.known(w.to.Ingress[j])
		return covers(&taker, &outer)
	})
}

// conditions prints what a rule asks of addresses and of the family.
func conditions(r *Rule) string {
	var p printer
	if p.addresses(r); len(p) == 0 {
		return "any address"
	}
	return string(p)
}

// nearest names the unfunnel rule that differs least.
func (w way) nearest(f *Flow, r *Rule, outer Rule) {
	var least []Mismatch
	near := -1
	for j := range w.to.Ingress {
		if w.to.Ingress[j].Action.Verb != Unfunnel {
			continue
		}
		taker := w.known(w.to.Ingress[j])
		found := append(matching(r, &outer, &taker), undoing(r, &taker)...)
		if near < 0 || len(found) < len(least) {
			near, least = j, found
		}
	}
	if near < 0 {
		f.miss(NothingUnfunneled, "the other side has no unfunnel rule")
		return
	}
	f.take(near, least)
}

// take adds a rule and why it does not undo the flow.
func (f *Flow) take(j int, faults []Mismatch) {
	if !slices.Contains(f.By, j) {
		f.By = append(f.By, j)
	}
	for _, m := range faults {
		if !slices.Contains(f.Mismatches, m) {
			f.Mismatches = append(f.Mismatches, m)
		}
	}
}

func (f *Flow) miss(kind MismatchKind, format string, args ...any) {
	f.Mismatches = append(f.Mismatches, Mismatch{kind, fmt.Sprintf(format, args...)})
}

func (f *Flow) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(f.Notes, text) {
		f.Notes = append(f.Notes, text)
	}
}
