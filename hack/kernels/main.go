// SPDX-License-Identifier: Apache-2.0

// Command kernels runs test binaries under other Linux kernels than this
// machine's: Debian's 6.1 and 6.12 in qemu, from an initramfs that holds static
// Go binaries, kernel modules and the few commands that tests start. It exits with 0 only when on every kernel
// every package ran at least one test, none failed, and the kernel neither
// panicked nor warned. make test-kernels starts it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
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
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("kernels", flag.ExitOnError)
	series := flags.String("series", "6.1,6.12", "kernel series, of Debian's packages")
	wanted := flags.String("modules", modules, "kernel modules to load")
	timeout := flags.Duration("timeout", 10*time.Minute, "how long a machine may run")
	opts := options{}
	commands := flags.String("commands", "sleep,ip,nft", "commands of this machine that the tests start")
	flags.StringVar(&opts.run, "run", "", "regular expression of the tests to run")
	flags.IntVar(&opts.seconds, "seconds", 300, "how long one test binary may run")
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "usage: kernels [flags] PACKAGE…\n")
		flags.PrintDefaults()
	}
	_ = flags.Parse(args)
	if opts.patterns = flags.Args(); len(opts.patterns) == 0 {
		opts.patterns = []string{"./hack/kernels/smoke", "./bpf/...", "./internal/datapath/...", "./internal/attach/..."}
	}

	if err := requireTools(ctx, map[string]string{
		"qemu-system-x86_64": "qemu-system-x86", "xz": "xz-utils", "dpkg-deb": "dpkg",
		"ip": "iproute2", "nft": "nftables",
	}); err != nil {
		return err
	}
	tests, err := buildSuite(ctx, opts)
	if err != nil {
		return err
	}
	if err := tests.files.addCommands(ctx, strings.Split(*commands, ",")); err != nil {
		return err
	}
	return runAll(ctx, tests, strings.Split(*series, ","), strings.Split(*wanted, ","), *timeout)
}

// runAll runs every series, also after one has failed.
func runAll(ctx context.Context, tests *suite, series, wanted []string, timeout time.Duration) error {
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	var failed []string
	for _, s := range series {
		passed, err := runOne(ctx, tests, cache, s, wanted, timeout)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			fmt.Println("FAIL", s, err)
		}
		if err != nil || !passed {
			failed = append(failed, s)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed on %s", strings.Join(failed, ", "))
	}
	return nil
}

// runOne boots one kernel and prints what came of it. An error is a failure of
// the machine, on top of what is printed.
func runOne(ctx context.Context, tests *suite, cache, series string, wanted []string, timeout time.Duration) (bool, error) {
	k, err := fetchKernel(ctx, cache, series)
	if err != nil {
		return false, err
	}
	archive, missing, err := tests.initramfs(k, wanted)
	if err != nil {
		return false, err
	}
	dir := filepath.Join(cache, "last", series)
	// Nothing of an earlier run may be taken for this one's.
	if err := firstError(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return false, err
	}
	fmt.Printf("== Linux %s (Debian %s)\n", k.release, k.version)
	if len(missing) > 0 {
		fmt.Printf("   lacks the modules %s\n", strings.Join(missing, ", "))
	}
	begin := time.Now()
	bootErr := machine{kernel: k, archive: archive, dir: dir, timeout: timeout}.run(ctx)
	report, err := os.ReadFile(filepath.Join(dir, "report.log"))
	if err != nil {
		return false, firstError(bootErr, err)
	}
	verdicts, faults, err := judge(ctx, string(report), tests.names)
	if err != nil {
		return false, firstError(bootErr, err)
	}
	passed := show(verdicts, faults)
	fmt.Printf("   %.1f s from power-on to power-off; logs in %s\n", time.Since(begin).Seconds(), dir)
	if bootErr != nil || len(faults) > 0 {
		showConsole(filepath.Join(dir, "console.log"))
	}
	return passed, bootErr
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// show prints every verdict and says whether all of it is good.
func show(verdicts []verdict, faults []string) bool {
	passed := len(faults) == 0
	for _, v := range verdicts {
		word := "ok  "
		if !v.ok() {
			word, passed = "FAIL", false
		}
		fmt.Printf("%s %s: %d passed, %d failed, %d skipped\n", word, v.name, v.passed, v.failed, v.skipped)
		for _, skip := range v.skips {
			fmt.Println("     skipped", skip)
		}
		for _, fault := range v.faults {
			fmt.Println("    ", fault)
		}
		if !v.ok() {
			fmt.Println(v.output)
		}
	}
	for _, fault := range faults {
		fmt.Println("FAIL", fault)
	}
	return passed
}

// showConsole prints the end of the kernel's console, where a panic is.
func showConsole(path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range lines[max(0, len(lines)-60):] {
		fmt.Println("   |", strings.TrimRight(line, "\r"))
	}
}
