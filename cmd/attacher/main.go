// SPDX-License-Identifier: Apache-2.0

// Command attacher reads funneling rules, loads them into the kernel as TC
// programs, attaches these to network interfaces, writes a report and exits.
// It runs as an init container of pods, on gateways and by hand.
package main

import (
	"context"
	"io"
	"os"
	"runtime/debug"

	"github.com/sfunnel-io/funnel-operator/internal/cli"
)

// The exit codes.
const (
	exitDone     = 0
	exitFailed   = 1
	exitBadInput = 2 // rules, settings, variables or flags
)

// outside is everything that a run takes from its surroundings.
type outside struct {
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// memoryGoal is when the garbage collector starts to spend time for memory, in
// bytes. What the attacher uses counts for the pod, next to the maps that it
// leaves; the largest rule sets would take twice as much without it. Below that
// it hardly runs (garbagePercent): the attacher ends before it would be worth it.
const (
	memoryGoal     = 32 << 20
	garbagePercent = 400
)

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryGoal)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	os.Exit(run(context.Background(), os.Args[1:], outside{os.Getenv, os.Stdin, os.Stdout, os.Stderr}))
}

// run does what the arguments say and returns the exit code.
func run(ctx context.Context, args []string, o outside) int {
	program := cli.Program{
		Commands: map[string]func([]string) int{
			"attach": func(rest []string) int {
				return cli.Heeding(ctx, func(ctx context.Context) int { return attachCommand(ctx, rest, o) })
			},
			"detach": func(rest []string) int { // it is short, and done whole
				return cli.Heeding(ctx, func(context.Context) int { return detachCommand(rest, o) })
			},
			"check":   func(rest []string) int { return checkCommand(rest, o) },
			"show":    func(rest []string) int { return showCommand(rest, o) },
			"version": func(rest []string) int { return versionCommand(rest, o) },
		},
		Help:    func() int { return help(o.stdout) },
		Unknown: func(command string) int { return o.bad("unknown command %q; see attacher --help", command) },
	}
	return program.Run(split(args))
}

// split takes the command off the arguments; without one it is attach.
func split(args []string) (string, []string) {
	if len(args) == 0 {
		return "attach", nil
	}
	switch first := args[0]; {
	case cli.IsHelp(first):
		return "help", nil
	case first == "-version" || first == "--version":
		return "version", nil
	case first != "" && first[0] == '-':
		return "attach", args
	default:
		return first, args[1:]
	}
}
