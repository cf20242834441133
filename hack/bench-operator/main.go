// SPDX-License-Identifier: Apache-2.0

// Command bench-operator measures the manager on a real kube-apiserver and etcd,
// and writes a page with tables and plots. make bench-operator starts it. Pods are
// objects; their statuses are written as the kubelet would. The manager is a
// process of its own, with the rights that the install gives it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sfunnel-io/funnel-operator/hack/benchpage"
)

type options struct {
	sizes   []size
	steady  time.Duration
	edits   time.Duration
	rolls   float64 // a second, while policies are edited
	creates []float64
	creating,
	settle time.Duration
	out, name string
	profiles  string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench-operator:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	opts, err := parseFlags(args)
	if err != nil {
		return err
	}
	if opts.profiles != "" {
		if err := os.MkdirAll(opts.profiles, 0o755); err != nil {
			return err
		}
	}
	if err := giveWay(); err != nil {
		return err
	}
	book, err := openBook(opts.out, opts.name)
	if err != nil {
		return err
	}
	for _, s := range opts.sizes {
		fmt.Fprintf(os.Stderr, "%d policies, %d pods …\n", s.Policies, s.Pods)
		r, err := measure(ctx, s, opts)
		if err != nil {
			return fmt.Errorf("%d policies: %w", s.Policies, err)
		}
		book.add(r)
		if err := book.write(); err != nil { // a later size may take longer than somebody waits
			return err
		}
	}
	fmt.Print(book.text())
	return nil
}

func parseFlags(args []string) (options, error) {
	opts := options{creates: []float64{30, 100, 500}, settle: 3 * time.Second}
	var common size
	var policies string
	flags := flag.NewFlagSet("bench-operator", flag.ExitOnError)
	flags.StringVar(&policies, "policies", "1000,3000,10000", "how many policies, one run after the other; results of earlier runs stay on the page")
	flags.IntVar(&common.Pods, "pods", 10000, "pods that the policies select")
	flags.IntVar(&common.OtherPods, "other-pods", 20000, "pods that concern nobody")
	flags.IntVar(&common.OtherConfigMaps, "other-configmaps", 5000, "ConfigMaps that concern nobody")
	flags.IntVar(&common.PerNamespace, "per-namespace", 100, "policies in a namespace")
	flags.DurationVar(&opts.steady, "steady", 30*time.Second, "how long nothing happens; the whole of it is -steady 10m")
	flags.DurationVar(&opts.edits, "edits", 20*time.Second, "how long policies are edited while pods roll")
	flags.Float64Var(&opts.rolls, "rolls", 100, "pods that roll in a second meanwhile")
	flags.DurationVar(&opts.creating, "webhook", 10*time.Second, "how long pods are created at each rate")
	flags.StringVar(&opts.out, "out", filepath.Join("docs", "benchmarks"), "folder to write to; empty: print only")
	flags.StringVar(&opts.name, "machine", benchpage.DefaultName()+"-operator", "name of the page")
	flags.StringVar(&opts.profiles, "profiles", "", "folder for CPU and heap profiles of the manager and the API server")
	quick := flags.Bool("quick", false, "-policies 100,500 -pods 500 -other-pods 1000 -other-configmaps 250 -steady 10s -edits 8s -webhook 4s -out '': a look within two minutes")
	_ = flags.Parse(args)
	if flags.NArg() > 0 {
		return opts, fmt.Errorf("unexpected arguments: %q", flags.Args())
	}
	if *quick {
		policies, common.Pods, common.OtherPods, common.OtherConfigMaps = "100,500", 500, 1000, 250
		opts.steady, opts.edits, opts.creating, opts.out = 10*time.Second, 8*time.Second, 4*time.Second, ""
	}
	for _, field := range strings.Split(policies, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < shapes {
			return opts, fmt.Errorf("-policies %q: want numbers from %d on, separated by commas", policies, shapes)
		}
		s := common
		s.Policies = n
		opts.sizes = append(opts.sizes, s)
	}
	return opts, nil
}
