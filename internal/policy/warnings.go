// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"

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
	for _, w := range rs.Warnings(d) {
		message := w.Message
		if !from[w.Rule].text {
			message = listMessage(w, from)
		} else if w.Other >= 0 {
			message += " (" + from[w.Other].where + ")"
		}
		c.program.Warnings = append(c.program.Warnings, Warning{warningReason(w.Kind), fmt.Sprintf("%s: %s", from[w.Rule], message)})
	}
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
	switch kind {
	case rules.Shadowed, rules.NeverMatches:
		return v1alpha1.ReasonShadowedRules
	case rules.UnfunnelWithoutPorts:
		return v1alpha1.ReasonUnfunnelWithoutPorts
	}
	return v1alpha1.ReasonRuleWarnings
}
