// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// parseText parses the rules of a file. The error is faults.
func parseText(file, text string) (rules.RuleSet, []rules.Position, error) {
	var found faults
	rs, at, err := rules.ParsePositions(text)
	if err != nil {
		addSyntax(&found, file, err)
		return nil, nil, found
	}
	return rs, at, nil
}

func addSyntax(f *faults, file string, err error) {
	var all rules.Errors
	if !errors.As(err, &all) {
		f.add(file, "%v", err)
		return
	}
	for _, e := range all {
		*f = append(*f, file+":"+e.Error())
	}
}

// warn prints what is doubtful about rules, each warning once even if it holds
// for both directions.
func (o outside) warn(file string, rs rules.RuleSet, at []rules.Position, directions ...rules.Direction) {
	seen := map[rules.Warning]bool{}
	for _, d := range directions {
		for _, w := range rs.Warnings(d) {
			if !seen[w] {
				seen[w] = true
				o.note("%s:%d:%d: warning: %s", file, at[w.Rule].Line, at[w.Rule].Column, w.Message)
			}
		}
	}
}
