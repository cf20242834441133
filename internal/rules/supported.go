// SPDX-License-Identifier: Apache-2.0

package rules

// Supported says what of a rule set the datapath of this version can't do in
// that direction, as RuleErrors; nil when it can do all of it. A rule set
// with an error must be refused as a whole, because a rule left out changes
// the meaning of those below it.
func Supported(rs RuleSet, d Direction) error {
	var faults RuleErrors
	for i, r := range rs {
		if message := r.unsupported(d); message != "" {
			faults = append(faults, &RuleError{Rule: i, Text: r.String(), Message: message})
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return faults
}

// unsupported is the one list of what is missing; "" when nothing is.
func (r Rule) unsupported(d Direction) string {
	switch {
	case r.Action.Inline:
		return ""
	case r.Action.Reply:
		return d.String() + ": reply is not supported yet; write the rules for the replies out"
	}
	return ""
}
