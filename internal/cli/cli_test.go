// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	var asked string
	ask := func(what string) int { asked = what; return 0 }
	p := Program{
		Commands: map[string]func([]string) int{"show": func(args []string) int { return ask("show " + strings.Join(args, " ")) }},
		Help:     func() int { return ask("help") },
		Unknown:  func(command string) int { return ask("unknown " + command) },
	}
	for line, want := range map[string]string{
		"show":          "show ",
		"show -a b":     "show -a b",
		"show -a -help": "help",
		"frob --help":   "help",
		"help":          "help",
		"-h":            "help",
		"frob":          "unknown frob",
	} {
		words := slices.Collect(strings.FieldsSeq(line))
		if p.Run(words[0], words[1:]); asked != want {
			t.Errorf("%q: %q, want %q", line, asked, want)
		}
	}
}
