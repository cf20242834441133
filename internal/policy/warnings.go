// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// gravest is the order of warnings, since the first gives the condition its
// reason.
var gravest = []string{
	v1alpha1.ReasonRuleWarnings,
	v1alpha1.ReasonShadowedRules,
	v1alpha1.ReasonUnfunnelWithoutPorts,
	v1alpha1.ReasonAddressesUnusable,
}

// sortWarnings puts the gravest first and keeps the order of equals.
func sortWarnings(list []Warning) {
	slices.SortStableFunc(list, func(a, b Warning) int {
		return cmp.Compare(slices.Index(gravest, a.Reason), slices.Index(gravest, b.Reason))
	})
}

// warnAboutRules tells what is legal and probably not meant.
func (c *compiler) warnAboutRules(rs rules.RuleSet, from []origin, d rules.Direction) {
	all := rs.Warnings(d)
	whole := causesOfWhole(all, from)
	for _, w := range all {
		message := w.Message
		switch half := unreachable(w.Kind) && !whole[causeOf(w, from)]; {
		case !from[w.Rule].text && half:
			message = halfMessage(w, from, rs[w.Rule].Family)
		case !from[w.Rule].text:
			message = listMessage(w, from)
		case w.Other >= 0:
			message += " (" + from[w.Other].where + ")"
		}
		c.program.Warnings = append(c.program.Warnings, Warning{warningReason(w.Kind), fmt.Sprintf("%s: %s", from[w.Rule], message)})
	}
}

// cause is why packets don't come to a list entry, or to its rule for one IP family.
type cause struct {
	entry *field.Path
	kind  rules.WarningKind
	other *field.Path
}

func causeOf(w rules.Warning, from []origin) cause {
	c := cause{entry: from[w.Rule].path, kind: w.Kind}
	if w.Other >= 0 {
		c.other = from[w.Other].path
	}
	return c
}

// causesOfWhole are those that hold for all rules of an entry.
func causesOfWhole(all []rules.Warning, from []origin) map[cause]bool {
	rulesOf, found, whole := map[*field.Path]int{}, map[cause]int{}, map[cause]bool{}
	for _, o := range from {
		rulesOf[o.path]++
	}
	for _, w := range all {
		c := causeOf(w, from)
		found[c]++
		whole[c] = found[c] == rulesOf[c.entry]
	}
	return whole
}

func unreachable(kind rules.WarningKind) bool {
	return kind == rules.Shadowed || kind == rules.NeverMatches
}

// halfMessage is listMessage for an entry of which it holds for one IP family.
func halfMessage(w rules.Warning, from []origin, half rules.Family) string {
	if w.Kind == rules.Shadowed {
		return fmt.Sprintf("never reached by %s packets: %s matches all of these", familyName(half), from[w.Other])
	}
	return fmt.Sprintf("no %s packet can match: not excludes every address of that family", familyName(half))
}

// listMessage says in the words of a list what the warning says in those of the
// rule language.
func listMessage(w rules.Warning, from []origin) string {
	switch w.Kind {
	case rules.Shadowed:
		return fmt.Sprintf("never reached: %s matches all of its packets", from[w.Other])
	case rules.NeverMatches:
		return "no packet can match: not excludes every address"
	case rules.UnfunnelWithoutPorts:
		return "accepts every inner port; set unfunnel.destinationPorts to those that clients funnel"
	case rules.MarkerConflict:
		return fmt.Sprintf("shares its marker with %s, whose inner protocol is another; give each inner protocol outer source ports of its own", from[w.Other])
	}
	return w.Message
}

func warningReason(kind rules.WarningKind) string {
	switch {
	case unreachable(kind):
		return v1alpha1.ReasonShadowedRules
	case kind == rules.UnfunnelWithoutPorts:
		return v1alpha1.ReasonUnfunnelWithoutPorts
	}
	return v1alpha1.ReasonRuleWarnings
}
