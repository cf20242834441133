// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// Compiled is a policy with its program.
type Compiled struct {
	Policy  *v1alpha1.FunnelPolicy
	Program *Program
}

// Conflict tells why a policy yields to an older one.
type Conflict struct {
	// With is the name of the older policy.
	With string
	// Message names both and the rules that don't go together, and says what holds
	// meanwhile.
	Message string
}

// Conflicts returns the policies of one namespace that can't be accepted beside
// the others, by name. Two policies conflict when one pod can have both on one
// interface and they put different actions on the same match, or use one marker
// for different inner protocols. The younger one yields (creationTimestamp, then
// name); one that yields is in nobody's way, although rules that it published before
// it came to yield stay in force. Policies without rules, because
// they have faults or are unresolved, take no part.
func Conflicts(all []Compiled) map[string]Conflict {
	oldestFirst := slices.SortedFunc(slices.Values(all), compareAge)
	var accepted []Compiled
	found := map[string]Conflict{}
	for _, younger := range oldestFirst {
		if younger.Program == nil || younger.Program.Data == nil {
			continue
		}
		if c, conflicts := younger.conflictWithAny(accepted); conflicts {
			found[younger.Policy.Name] = c
			continue
		}
		accepted = append(accepted, younger)
	}
	return found
}

func compareAge(a, b Compiled) int {
	return cmp.Or(
		a.Policy.CreationTimestamp.Compare(b.Policy.CreationTimestamp.Time),
		cmp.Compare(a.Policy.Name, b.Policy.Name),
	)
}

func (c Compiled) conflictWithAny(older []Compiled) (Conflict, bool) {
	for _, o := range older {
		if !canMeet(c.Policy, o.Policy) {
			continue
		}
		for _, d := range []rules.Direction{rules.Ingress, rules.Egress} {
			if why := clash(c.Program.of(d), o.Program.of(d)); why != "" {
				return Conflict{o.Policy.Name, fmt.Sprintf(
					"policy %s is older and can hold for the same pods: %s: %s; what this policy published before stays in force, in the order of priority, until the two agree or it is deleted", o.Policy.Name, d, why)}, true
			}
		}
	}
	return Conflict{}, false
}

func (p *Program) of(d rules.Direction) rules.RuleSet {
	if d == rules.Egress {
		return p.Egress
	}
	return p.Ingress
}

// canMeet reports whether one interface of one pod can have the rules of both.
func canMeet(a, b *v1alpha1.FunnelPolicy) bool {
	return shareInterface(a.Spec.Interfaces, b.Spec.Interfaces) && selectorsMeet(&a.Spec.PodSelector, &b.Spec.PodSelector)
}

// shareInterface: a policy that names no interface holds on any.
func shareInterface(a, b []string) bool {
	return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(name string) bool { return slices.Contains(b, name) })
}

// clash tells of the first two rules that don't go together, "" when all do. The same
// rules in the same order do, whatever they say: two Services in front of the same
// pods have a backend policy each.
func clash(mine, theirs rules.RuleSet) string {
	if mine.String() == theirs.String() {
		return ""
	}
	byMatch := map[string]rules.Rule{}
	for _, r := range theirs {
		if key := matchKey(r); byMatch[key].Protocol == 0 {
			byMatch[key] = r
		}
	}
	for _, r := range mine {
		if other, same := byMatch[matchKey(r)]; same && other.Action.String() != r.Action.String() {
			return fmt.Sprintf("%q has the same match as its %q, and another action", r, other)
		}
	}
	if i, j, ok := mine.MarkerConflict(theirs); ok {
		return fmt.Sprintf("%q shares its marker with its %q, which carries another protocol", mine[i], theirs[j])
	}
	return ""
}

// matchKey is the same for rules in canonical form that match the same packets.
func matchKey(r rules.Rule) string {
	r.Action = rules.Action{}
	return r.String()
}
