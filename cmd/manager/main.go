// SPDX-License-Identifier: Apache-2.0

// Command manager is the operator: it turns FunnelPolicies into rules, injects
// pods, and reports what came of it. It runs on no node in particular, without
// privileges.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	limitMemory(os.Getenv)
	os.Exit(run(ctrl.SetupSignalHandler(), os.Args[1:], os.Getenv, os.Stderr))
}

// run is the program: it ends with the context and returns the exit status, 0
// after an orderly end or for help, 1 after a failure, 2 for bad flags.
func run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) int {
	opts, err := parse(args, getenv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if opts.profiles == nowhere {
		runtime.MemProfileRate = 0 // nobody can ask where the heap comes from
	}
	handler := opts.log.handler(stderr)
	slog.SetDefault(slog.New(handler)) // and with it the standard library's log
	ctrl.SetLogger(logr.FromSlogHandler(handler))
	klog.SetLogger(logr.FromSlogHandler(handler))

	if err := serve(ctx, opts); err != nil {
		fmt.Fprintln(stderr, "manager:", err)
		return 1
	}
	return 0
}
