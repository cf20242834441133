// SPDX-License-Identifier: Apache-2.0

// Command bench measures the datapath on this machine, in network namespaces
// only, and writes a page with tables and plots. make bench starts it; it needs
// root. Every figure that compares is a ratio of samples taken one after the
// other, because a shared machine's absolute speed wanders.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/sfunnel-io/funnel-operator/hack/benchpage"
)

type options struct {
	rounds   int
	duration time.Duration // of one sample
	only     *regexp.Regexp
	modes    *regexp.Regexp // besides native
	peer     string         // object file of another implementation
	out      string         // folder of the page
	machine  string         // name of the page
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 1 && args[0] == timedCommand {
		return runTimed(args[1:])
	}
	if len(args) == 2 && args[0] == serverCommand {
		return runServer(args[1])
	}
	opts, err := parseFlags(args)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root: it makes network namespaces and loads programs")
	}
	page := page{machine: benchpage.Describe(), name: opts.machine, options: opts}
	if err := page.measure(ctx); err != nil {
		return err
	}
	return page.write()
}

func parseFlags(args []string) (options, error) {
	var opts options
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	flags.IntVar(&opts.rounds, "rounds", 64, "samples of each figure")
	flags.DurationVar(&opts.duration, "duration", 60*time.Millisecond, "length of one sample; the shorter, the closer together are those that are compared")
	quick := flags.Bool("quick", false, "the same as -rounds 12: a look within two minutes")
	only := flags.String("only", "", "regular expression of the rows to measure")
	modes := flags.String("modes", "", "regular expression of the modes to measure besides native")
	flags.StringVar(&opts.peer, "peer", "", "object file of another implementation, to be shown as a column: its first TC program is attached to both ends, with the rules of hack/bench/README.md built in")
	flags.StringVar(&opts.out, "out", filepath.Join("docs", "benchmarks"), "folder to write to; empty: print only")
	flags.StringVar(&opts.machine, "machine", benchpage.DefaultName(), "name of the page")
	_ = flags.Parse(args)
	if *quick {
		opts.rounds = 12
	}
	if flags.NArg() > 0 || opts.rounds < 1 {
		return opts, fmt.Errorf("unexpected arguments: %q", flags.Args())
	}
	var err error
	if opts.only, err = regexp.Compile(*only); err != nil {
		return opts, err
	}
	opts.modes, err = regexp.Compile(*modes)
	return opts, err
}
