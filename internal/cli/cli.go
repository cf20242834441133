// SPDX-License-Identifier: Apache-2.0

// Package cli is what the command lines of our programs have in common.
package cli

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// Program is what a command line can ask for. Each function returns the exit
// status.
type Program struct {
	// Commands are given the arguments behind their names.
	Commands map[string]func(args []string) int
	Help     func() int
	Unknown  func(command string) int
}

// Run runs a command, or prints help: for the command help, and when an argument
// asks for it.
func (p Program) Run(command string, args []string) int {
	if command == "help" || IsHelp(command) || slices.ContainsFunc(args, IsHelp) {
		return p.Help()
	}
	if run, known := p.Commands[command]; known {
		return run(args)
	}
	return p.Unknown(command)
}

// Heeding runs a command that ends in order when the context does: at the first SIGINT or
// SIGTERM. Others are ended by the signal itself, also while they read.
func Heeding(ctx context.Context, run func(context.Context) int) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx)
}

// IsHelp reports whether an argument asks for help.
func IsHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }
