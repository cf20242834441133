// SPDX-License-Identifier: Apache-2.0

// Command kernels runs test binaries under other Linux kernels than this
// machine's: Debian's 6.1 and 6.12 in qemu, side by side, and of another processor as
// well (-arch arm64), from an initramfs that holds static Go binaries, kernel modules and the few commands that tests start.
// It exits with 0 only when on every kernel every package ran at least one test,
// none failed, and the kernel neither panicked nor warned. make test-kernels
// starts it.
//
// Emulation is slow, so only some tests run (chosen.go), and with -short: those
// that move or compute much then do less of it.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// modules are what an ordinary machine loads by itself while the tests run.
// A kernel that lacks one of them is named; the tests decide whether it matters.
const modules = "veth,cls_bpf,sch_ingress,dummy,tun,bridge,8021q,bonding," +
	"nf_conntrack,nf_nat,nf_tables,nft_ct,nft_nat,nft_chain_nat,nft_masq,nft_redir,nft_reject_inet," +
	"nft_compat,xt_conntrack,xt_nat,xt_MASQUERADE,xt_tcpudp,nf_conntrack_netlink"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := test(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		os.Exit(1)
	}
}

func test(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("kernels", flag.ExitOnError)
	arch := flags.String("arch", "amd64", "processor: amd64 or arm64")
	series := flags.String("series", "6.1,6.12", "kernel series, of Debian's packages")
	wanted := flags.String("modules", modules, "kernel modules to load")
	timeout := flags.Duration("timeout", 30*time.Minute, "how long a machine may run")
	opts := options{}
	commands := flags.String("commands", "sleep,ip,nft", "commands that the tests start")
	flags.StringVar(&opts.run, "run", "", "regular expression of the tests to run, instead of the chosen ones")
	flags.BoolVar(&opts.all, "all", false, "run every test, which takes half an hour")
	flags.IntVar(&opts.seconds, "seconds", 1500, "how long one test binary may run")
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "usage: kernels [flags] PACKAGE…\n")
		flags.PrintDefaults()
	}
	_ = flags.Parse(args)
	if opts.patterns = flags.Args(); len(opts.patterns) == 0 {
		opts.patterns = []string{"./hack/kernels/smoke", "./bpf/...", "./internal/datapath/...", "./internal/attach/..."}
	}

	cache, err := cacheDir()
	if err != nil {
		return err
	}
	if opts.on, err = architectureOf(*arch, cache); err != nil {
		return err
	}
	if err := requireTools(ctx, map[string]string{
		opts.on.emulator: opts.on.debian, "xz": "xz-utils", "dpkg-deb": "dpkg",
		"ip": "iproute2", "nft": "nftables",
	}); err != nil {
		return err
	}
	tests, err := buildSuite(ctx, opts)
	if err != nil {
		return err
	}
	root, err := opts.on.root(ctx, "iproute2", "nftables", "coreutils")
	if err != nil {
		return err
	}
	if err := tests.files.addCommands(root, strings.Split(*commands, ",")); err != nil {
		return err
	}
	return runAll(ctx, cache, tests, strings.Split(*series, ","), strings.Split(*wanted, ","), *timeout)
}

// runAll runs every series at once and prints one after the other.
func runAll(ctx context.Context, cache string, tests *suite, series, wanted []string, timeout time.Duration) error {
	kernels := make([]kernel, len(series))
	for i, s := range series {
		var err error
		if kernels[i], err = tests.on.fetchKernel(ctx, cache, s); err != nil {
			return err
		}
	}
	passed, output := make([]bool, len(series)), make([]bytes.Buffer, len(series))
	var machines sync.WaitGroup
	for i, k := range kernels {
		machines.Go(func() {
			var err error
			if passed[i], err = runOne(ctx, &output[i], tests, k, wanted, timeout); err != nil {
				fmt.Fprintln(&output[i], "FAIL", series[i], err)
			}
		})
	}
	machines.Wait()
	var failed []string
	for i, s := range series {
		io.Copy(os.Stdout, &output[i])
		if !passed[i] {
			failed = append(failed, s)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed on %s", strings.Join(failed, ", "))
	}
	return nil
}

// runOne boots one kernel and writes what came of it to w. An error is a failure
// of the machine, on top of what is written. The logs of what failed are kept.
func runOne(ctx context.Context, w io.Writer, tests *suite, k kernel, wanted []string, timeout time.Duration) (bool, error) {
	archive, missing, err := tests.initramfs(k, wanted)
	if err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "funnel-kernel-")
	if err != nil {
		return false, err
	}
	fmt.Fprintf(w, "== Linux %s (Debian %s)\n", k.release, k.version)
	if len(missing) > 0 {
		fmt.Fprintf(w, "   lacks the modules %s\n", strings.Join(missing, ", "))
	}
	begin := time.Now()
	bootErr := machine{on: tests.on, kernel: k, archive: archive, dir: dir, timeout: timeout}.run(ctx)
	report, err := os.ReadFile(filepath.Join(dir, "report.log"))
	if err != nil {
		return false, firstError(bootErr, err)
	}
	verdicts, faults, err := judge(ctx, string(report), tests.names)
	if err != nil {
		return false, firstError(bootErr, err)
	}
	passed := show(w, verdicts, faults) && bootErr == nil
	fmt.Fprintf(w, "   %.1f s from power-on to power-off\n", time.Since(begin).Seconds())
	if bootErr != nil || len(faults) > 0 {
		showConsole(w, filepath.Join(dir, "console.log"))
	}
	if passed {
		return true, os.RemoveAll(dir)
	}
	fmt.Fprintln(w, "   logs in", dir)
	return false, bootErr
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// show writes every verdict and says whether all of it is good.
func show(w io.Writer, verdicts []verdict, faults []string) bool {
	passed := len(faults) == 0
	for _, v := range verdicts {
		word := "ok  "
		if !v.ok() {
			word, passed = "FAIL", false
		}
		fmt.Fprintf(w, "%s %s: %d passed, %d failed, %d skipped\n", word, v.name, v.passed, v.failed, v.skipped)
		for _, skip := range v.skips {
			fmt.Fprintln(w, "     skipped", skip)
		}
		for _, fault := range v.faults {
			fmt.Fprintln(w, "    ", fault)
		}
		if !v.ok() {
			fmt.Fprintln(w, v.output)
		}
	}
	for _, fault := range faults {
		fmt.Fprintln(w, "FAIL", fault)
	}
	return passed
}

// showConsole writes the end of the kernel's console, where a panic is.
func showConsole(w io.Writer, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		fmt.Fprintln(w, err)
		return
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range lines[max(0, len(lines)-60):] {
		fmt.Fprintln(w, "   |", strings.TrimRight(line, "\r"))
	}
}
