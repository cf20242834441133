// SPDX-License-Identifier: Apache-2.0

package benchpage

import (
	"fmt"
	"io"
)

// Goal is a figure that is to be reached, and what was measured.
type Goal struct {
	What     string
	Measured float64
	Bound    float64
	AtMost   bool // else at least
	Unit     string
}

// Met reports whether it was reached; what is not a number was not.
func (g Goal) Met() bool {
	if g.AtMost {
		return g.Measured <= g.Bound
	}
	return g.Measured >= g.Bound
}

// String is the bound and the verdict.
func (g Goal) String() string {
	sign, verdict := "≥", "not met"
	if g.AtMost {
		sign = "≤"
	}
	if g.Met() {
		verdict = "met"
	}
	return fmt.Sprintf("%s %.4g%s: %s", sign, g.Bound, g.Unit, verdict)
}

// WriteGoals writes the section of the page that compares with targets.
func WriteGoals(text io.Writer, all []Goal) {
	fmt.Fprintf(text, "\n## Targets\n\n| | measured | target |\n|---|---:|---|\n")
	for _, g := range all {
		fmt.Fprintf(text, "| %s | %.3g%s | %s |\n", g.What, g.Measured, g.Unit, g)
	}
}
