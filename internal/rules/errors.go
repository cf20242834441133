// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"strings"
)

// Position is a place in rule text. Line and Column count from 1; columns
// count bytes.
type Position struct {
	Line, Column int
}

// SyntaxError is one fault of rule text.
type SyntaxError struct {
	Position
	// Token is the text at the fault, "end of line" where a rule ended too
	// early.
	Token string
	// Message says what is wrong.
	Message string
	// Expected says what would be right; it may be empty.
	Expected string
}

// Error returns "line:column: message", so that a file name and a colon in
// front give the form that editors understand.
func (e *SyntaxError) Error() string {
	message := fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
	if e.Expected != "" {
		message += "; expected " + e.Expected
	}
	return message
}

// Errors are all faults of one text, in the order of the text. Parse returns
// no other error type.
type Errors []*SyntaxError

// Error returns one line per fault.
func (es Errors) Error() string {
	return joinErrors(es)
}

// Unwrap gives errors.As access to the single faults.
func (es Errors) Unwrap() []error {
	return asErrors(es)
}

// RuleError is a fault of one rule of a rule set that did not come from text,
// or that text alone does not show.
type RuleError struct {
	// Rule is the index in the rule set, from 0.
	Rule int
	// Text is the rule in canonical form.
	Text string
	// Message says what is wrong and what to write instead.
	Message string
}

// Error names the rule by its number from 1 and by its text.
func (e *RuleError) Error() string {
	return fmt.Sprintf("rule %d (%s): %s", e.Rule+1, e.Text, e.Message)
}

// RuleErrors are all faults of a rule set, in the order of the rules.
type RuleErrors []*RuleError

// Error returns one line per fault.
func (es RuleErrors) Error() string {
	return joinErrors(es)
}

// Unwrap gives errors.As access to the single faults.
func (es RuleErrors) Unwrap() []error {
	return asErrors(es)
}

func joinErrors[E error](es []E) string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

func asErrors[E error](es []E) []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}
