// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/sfunnel-io/funnel-operator/internal/classifier"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// checkCommand parses and compiles files of rules without touching the kernel
// and prints them in canonical form.
func checkCommand(args []string, o outside) int {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	direction := flags.String("direction", "", "")
	peer, services := flags.Bool("peer", false, ""), portMap{}
	flags.Var(services, "map", "")
	if err := flags.Parse(args); err != nil {
		return o.bad("%v", err)
	}
	switch {
	case *peer && *direction == "" && flags.NArg() == 2:
		return o.checkPeers(flags.Args(), services)
	case *peer || len(services) > 0:
		return o.bad("check: want check --peer [--map tcp/80=8080]… CLIENT BACKEND: two files, or folders with %s and %s", ingressFile, egressFile)
	}
	chosen, err := directions(*direction)
	if err != nil {
		return o.bad("%v", err)
	}
	if flags.NArg() == 0 {
		return o.bad("check: name the files with rules, - for the standard input")
	}
	code := exitDone
	for _, file := range flags.Args() {
		if err := o.check(file, chosen, flags.NArg() > 1); err != nil {
			o.note("%v", err)
			code = exitBadInput
		}
	}
	return code
}

// check checks one file. With titles each file's rules stand below its name.
func (o outside) check(file string, chosen []rules.Direction, titles bool) error {
	text, err := o.readFile(file)
	if err != nil {
		return err
	}
	if len(chosen) == 0 {
		chosen = directionsOf(file)
	}
	rs, at, err := parseText(file, text)
	if err != nil {
		return err
	}
	if _, err := classifier.Compile(rs); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	o.warn(file, rs, at, chosen...)
	if titles {
		o.print("# %s", file)
	}
	fmt.Fprint(o.stdout, rs.String())
	return nil
}

func (o outside) readFile(file string) (string, error) {
	if file == "-" {
		text, err := io.ReadAll(o.stdin)
		return string(text), err
	}
	text, err := os.ReadFile(file)
	return string(text), err
}

// directionsOf guesses by the file's name; for other names both directions are
// checked.
func directionsOf(file string) []rules.Direction {
	switch filepath.Base(file) {
	case ingressFile:
		return []rules.Direction{rules.Ingress}
	case egressFile:
		return []rules.Direction{rules.Egress}
	}
	return []rules.Direction{rules.Ingress, rules.Egress}
}
