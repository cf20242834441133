// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sfunnel-io/funnel-operator/internal/datapath"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// choices are what flags and variables say; a flag wins over its variable.
type choices struct {
	folder     string
	netns      string
	interfaces []string
	directions []rules.Direction // nil when nothing was said
	attempts   int
	delay      time.Duration
	json       bool
	flows      int  // 0 when nothing was said
	dropFlows  bool // also when the variable says so
	listFlows  bool
	// awaited are the digests that the folders must hold first, for which attach
	// waits at most awaitAtMost.
	awaited     awaited
	awaitAtMost time.Duration
}

// raw holds flags before they are understood.
type raw struct {
	folder, netns, interfaces, direction, attempts, delay, output, flows, await, awaitAtMost string
	dropFlows, listFlows                                                                     bool
}

// readChoices reads the flags of a command, and the variables that it looks at; rest are
// the arguments behind them.
func readChoices(command string, args []string, getenv func(string) string) (c choices, rest []string, err error) {
	r := raw{interfaces: getenv("IFACES"), attempts: "6", delay: "3", awaitAtMost: awaitAtMost}
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&r.netns, "netns", getenv("NETNS"), "")
	flags.StringVar(&r.direction, "direction", getenv("DIRECTION"), "")
	var named []string
	flags.Func("interface", "", func(s string) error {
		named = append(named, s)
		r.interfaces = strings.Join(named, ",")
		return nil
	})
	var errDrop error
	switch command {
	case "show":
		flags.StringVar(&r.folder, "rules", rulesFolder, "")
		flags.StringVar(&r.output, "o", "", "")
		flags.BoolVar(&r.listFlows, "flows", false, "")
	case "attach":
		errDrop = r.attachFlags(flags, getenv)
	}
	if err := cmp.Or(flags.Parse(args), errDrop); err != nil {
		return c, nil, err
	}
	c, err = r.understand()
	return c, flags.Args(), err
}

// rulesFolder is where the rules are unless a flag says otherwise.
const rulesFolder = "/etc/sfunnel"

// attachFlags adds those that only attach has.
func (r *raw) attachFlags(flags *flag.FlagSet, getenv func(string) string) error {
	flags.StringVar(&r.folder, "rules", rulesFolder, "")
	flags.StringVar(&r.attempts, "attempts", withDefault(getenv("N_ATTEMPTS"), r.attempts), "")
	flags.StringVar(&r.delay, "retry-delay", withDefault(getenv("RETRY_DELAY"), r.delay), "")
	flags.StringVar(&r.flows, "flows", getenv("SFUNNEL_FLOWS"), "")
	flags.StringVar(&r.await, "await", getenv("SFUNNEL_AWAIT"), "")
	flags.StringVar(&r.awaitAtMost, "await-at-most", withDefault(getenv("SFUNNEL_AWAIT_AT_MOST"), r.awaitAtMost), "")
	dropFlows, err := isSet(getenv, "SFUNNEL_DROP_FLOWS")
	flags.BoolVar(&r.dropFlows, "drop-flows", dropFlows, "")
	return err
}

func withDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// understand checks all values and reports all faults.
func (r raw) understand() (choices, error) {
	c := choices{folder: r.folder, netns: r.netns, json: r.output == "json", dropFlows: r.dropFlows, listFlows: r.listFlows}
	c.interfaces = strings.FieldsFunc(r.interfaces, func(x rune) bool { return x == ',' || x == ' ' || x == '\n' || x == '\t' })
	var errs [7]error
	c.directions, errs[0] = directions(r.direction)
	c.attempts, errs[1] = attempts(r.attempts)
	c.delay, errs[2] = seconds("retry delay", r.delay)
	if r.output != "" && !c.json {
		errs[3] = fmt.Errorf("output %q: want json", r.output)
	}
	c.flows, errs[4] = flows(r.flows)
	c.awaited, errs[5] = parseAwaited(r.await)
	c.awaitAtMost, errs[6] = seconds("time to wait for rules", r.awaitAtMost)
	return c, errors.Join(errs[:]...)
}

// flows reads for how many flows there is to be room; 0 when nothing is said.
func flows(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > datapath.MaxFlows {
		return 0, fmt.Errorf("room for %q flows: want a whole number from 1 to %d", s, datapath.MaxFlows)
	}
	return n, nil
}

func directions(s string) ([]rules.Direction, error) {
	switch s {
	case "":
		return nil, nil
	case "ingress":
		return []rules.Direction{rules.Ingress}, nil
	case "egress":
		return []rules.Direction{rules.Egress}, nil
	case "both":
		return []rules.Direction{rules.Ingress, rules.Egress}, nil
	}
	return nil, fmt.Errorf("direction %q: want ingress, egress or both", s)
}

func attempts(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("number of attempts %q: want a whole number from 1", s)
	}
	return n, nil
}

// seconds reads a time in seconds, or a number with a unit.
func seconds(what, s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		d, err = time.ParseDuration(s + "s")
	}
	if err != nil || d < 0 || d > time.Hour {
		return 0, fmt.Errorf("%s %q: want seconds, at most an hour", what, s)
	}
	return d, nil
}

// wants reports whether the direction is among the chosen ones; all are when
// nothing was said.
func wants(chosen []rules.Direction, d rules.Direction) bool {
	return len(chosen) == 0 || slices.Contains(chosen, d)
}

// isSet reads a variable that is a switch.
func isSet(getenv func(string) string, name string) (bool, error) {
	switch v := getenv(name); v {
	case "", "0", "false":
		return false, nil
	case "1", "true":
		return true, nil
	default:
		return false, fmt.Errorf("%s=%q: want 1 or 0", name, v)
	}
}
