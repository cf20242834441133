// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// Set is rules for some interfaces.
type Set struct {
	// Interfaces by name; empty: every default interface, that is one that is
	// up, has an address and packets that begin with an Ethernet or IP header, is not
	// loopback, not enslaved and not ours.
	Interfaces []string
	// Ingress and Egress are the rules of each direction, in order.
	Ingress, Egress rules.RuleSet
	// Flows is for how many flows there is to be room; the largest of an
	// interface's sets wins. 0: as Options.Flows says.
	Flows int
	// Reserve makes room for what the rules push: routes through the interface get
	// an MTU that much below its own. One set of an interface is enough.
	Reserve bool
}

// target is an interface with all rules that hold for it.
type target struct {
	device
	ingress, egress rules.RuleSet
	flows           int
	reserve         bool
}

// plan decides which interface gets which rules: those of the sets that name it,
// and if it is a default interface those of the sets that name none, in the order
// of the sets. Targets are in the order of devices. A MissingError means that
// waiting may help.
func plan(devices []device, sets []Set) ([]target, error) {
	var names []string
	for _, s := range sets {
		names = append(names, s.Interfaces...)
	}
	if err := missing(devices, names); err != nil {
		return nil, err
	}
	for _, s := range sets {
		if !slices.ContainsFunc(devices, s.covers) {
			return nil, noDefault(devices)
		}
	}
	var targets []target
	var chosen []device
	for _, d := range devices {
		t, ok := merge(d, sets)
		if !ok {
			continue
		}
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("interface %s %w", d.name, err)
		}
		targets = append(targets, t)
		chosen = append(chosen, d)
	}
	return targets, checkStack(devices, chosen)
}

// check refuses a device that can't have such rules.
func (t target) check() error {
	switch {
	case t.ours():
		return errors.New("is a segmenting device of ours and takes no rules")
	case t.header != "":
		return fmt.Errorf("can't take rules: its packets begin with a header of type %s; an Ethernet or IP header is expected", t.header)
	case t.bypassed && t.needsIngress():
		return errors.New("is an ipvlan in mode l3s: what arrives does not pass its ingress hook, as the rules need; use mode l3, or name other interfaces")
	}
	return nil
}

// needsIngress reports whether the rules are about what arrives, or about what is answered there.
func (t target) needsIngress() bool {
	return len(t.ingress) > 0 || slices.ContainsFunc(t.egress, func(r rules.Rule) bool { return r.Action.Inline || r.Action.Reply })
}

// withLeft adds, without rules, the devices that have programs of ours and are no
// targets any more.
func withLeft(targets []target, devices []device) ([]target, error) {
	all := slices.Clip(targets)
	for _, d := range devices {
		if d.ours() || slices.ContainsFunc(targets, func(t target) bool { return t.index == d.index }) {
			continue
		}
		for _, h := range []Hook{Ingress, Egress} {
			found, err := listHook(d, h)
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", d.name, err)
			}
			if len(found) > 0 {
				all = append(all, target{device: d})
				break
			}
		}
	}
	return all, nil
}

// merge joins the rules that hold for a device; false when no set is for it.
func merge(d device, sets []Set) (target, bool) {
	t := target{device: d}
	found := false
	for _, s := range sets {
		if !s.covers(d) {
			continue
		}
		found = true
		t.ingress, t.egress = join(t.ingress, s.Ingress), join(t.egress, s.Egress)
		t.flows = max(t.flows, s.Flows)
		t.reserve = t.reserve || s.Reserve
	}
	return t, found
}

// join returns the rules of the one set behind those of the other, and changes none.
func join(first, second rules.RuleSet) rules.RuleSet {
	if len(first) == 0 {
		return second
	}
	return append(slices.Clip(first), second...)
}

func (s Set) covers(d device) bool {
	if len(s.Interfaces) == 0 {
		return d.isDefault()
	}
	return slices.ContainsFunc(s.Interfaces, d.named)
}

// Join returns the rules that the sets have for an interface which is a default
// one if no set names it.
func Join(sets []Set, name string) (ingress, egress rules.RuleSet) {
	for _, s := range sets {
		if len(s.Interfaces) == 0 || slices.Contains(s.Interfaces, name) {
			ingress, egress = join(ingress, s.Ingress), join(egress, s.Egress)
		}
	}
	return ingress, egress
}
