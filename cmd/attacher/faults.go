// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sfunnel-io/funnel-operator/internal/classifier"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// faults are what is wrong with the input, each "file:line:col: message" or
// "file: message".
type faults []string

// Error returns one line per fault.
func (f faults) Error() string { return strings.Join(f, "\n") }

// orNil avoids an error that is not nil and says nothing.
func (f faults) orNil() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// add appends a fault of a file.
func (f *faults) add(file, format string, args ...any) {
	*f = append(*f, file+": "+fmt.Sprintf(format, args...))
}

// join appends the faults of an error, or the error as one.
func (f *faults) join(err error) {
	var others faults
	switch {
	case err == nil:
	case errors.As(err, &others):
		*f = append(*f, others...)
	default:
		*f = append(*f, err.Error())
	}
}

// isBadInput tells an error of the rules from one of the machine.
func isBadInput(err error) bool {
	var bad faults
	var rule rules.RuleErrors
	var limit *classifier.LimitError
	return errors.As(err, &bad) || errors.As(err, &rule) || errors.As(err, &limit)
}
