// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// print writes a line to the standard output.
func (o outside) print(format string, args ...any) {
	fmt.Fprintf(o.stdout, format+"\n", args...)
}

// note writes a line to the standard error.
func (o outside) note(format string, args ...any) {
	fmt.Fprintf(o.stderr, format+"\n", args...)
}

// bad says what is wrong with the input and returns the exit code for it.
func (o outside) bad(format string, args ...any) int {
	o.note("attacher: "+format, args...)
	return exitBadInput
}

// failed prints an error as one line and returns the exit code for it.
func (o outside) failed(err error) int {
	o.note("attacher: %s", oneLine(err))
	return exitFailed
}

// oneLine returns an error's text without line ends.
func oneLine(err error) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}
