// SPDX-License-Identifier: Apache-2.0

// Command cluster starts a real Kubernetes on this machine, of processes in
// namespaces of their own, and takes it away again without a trace.
//
//	go run ./hack/cluster up -nodes 3 -proxy-mode nftables IMAGE.tar …
//	export KUBECONFIG=$(go run ./hack/cluster kubeconfig)
//	go run ./hack/cluster down
//
// A machine (the control plane, each node, the clients outside, their gateway) is
// one process with network, mount, pid, uts and ipc namespaces of its own, and
// whatever it starts. The machines are wired to each other, never to the host: the host keeps
// one port on its loopback, on which kubectl reaches the API server.
//
// Whatever is done outside those namespaces (processes, cgroups, sysctls) is
// written to a journal before it is done; down, a failed up and an interrupted one
// play it backwards. So does the next up, should all of them have been killed.
//
// One cluster at a time is up on a computer, whoever started it: up refuses to start
// another.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

const usage = `usage: cluster COMMAND [-name NAME] …
  up [-nodes N] [-proxy-mode iptables|nftables] [-families 4|4,6] [-outside N] [IMAGE.tar…]
                     start it and load the images on every node
  down               take it away; what was there before is restored
  load IMAGE.tar…    load images on every node
  kubeconfig         print the path of the administrator's kubeconfig
  exec MACHINE [--] COMMAND…
                     run a command in a machine: control, node-1…, gateway, outside
  proxy-mode iptables|nftables
                     change kube-proxy's mode on every node; returns when the other's rules are gone
  settled NAMESPACE/SERVICE ADDRESS…
                     wait until every node sends the Service's traffic to exactly these pods
  outage [-for TIME] MACHINE PROGRAM
                     kill one of a machine's programs, and start it again after that time
  kill NODE CONTAINER
                     kill a container of a node, by its number in the pod's status
  hang NODE CONTAINER
                     stop a container's first process, which lives and does nothing
  reboot NODE        kill every process of a node at once; the node's programs start again
  snapshot [-since FILE]
                     list what the host shows of namespaces, links, mounts, cgroups
                     and sysctls; with -since, only what FILE does not list and
                     a cluster can make (exit 1); the rest as a note
`

func main() {
	if len(os.Args) == 3 && os.Args[1] == machineCommand {
		runMachine(os.Args[2])
		os.Exit(1) // it is killed when all goes well
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit status: 0 done, 1 failed, 2
// not understood.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	cfg := Config{ProxyMode: "nftables"}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	flags.StringVar(&cfg.Name, "name", "demo", "")
	flags.IntVar(&cfg.Nodes, "nodes", 2, "")
	flags.StringVar(&cfg.ProxyMode, "proxy-mode", "nftables", "")
	flags.StringVar(&cfg.Families, "families", "4", "")
	flags.IntVar(&cfg.Outside, "outside", 12, "")
	since := flags.String("since", "", "")
	away := flags.Duration("for", 0, "")
	if err := flags.Parse(args[1:]); err != nil {
		return 2
	}
	err := misused(args[0], flags.Args())
	if err == nil {
		err = command(ctx, args[0], cfg, flags.Args(), options{*since, *away}, stdout, stderr)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "cluster %s: %v\n", args[0], err)
	if errors.As(err, new(misuse)) {
		return 2
	}
	return 1
}

// misuse says what is wrong with a command line.
type misuse string

func (m misuse) Error() string { return string(m) }

// misused looks at the arguments of a command.
func misused(name string, args []string) error {
	switch {
	case len(args) > 0 && (name == "down" || name == "kubeconfig" || name == "snapshot"):
		return misuse(fmt.Sprintf("takes no argument, found %q: a cluster is named by -name", args[0]))
	case name == "proxy-mode" && len(args) != 1:
		return misuse("which mode? iptables or nftables")
	case name == "settled" && len(args) == 0:
		return misuse("which Service?")
	case name == "outage" && len(args) != 2:
		return misuse("which machine and which program?")
	case (name == "kill" || name == "hang") && len(args) != 2:
		return misuse("which node and which container?")
	case name == "reboot" && (len(args) != 1 || !isNode(args[0])):
		return misuse("which node?")
	}
	return nil
}

// options are those that are no cluster's.
type options struct {
	since string
	away  time.Duration
}

func command(ctx context.Context, name string, cfg Config, args []string, opts options, stdout, stderr io.Writer) error {
	dir, err := directory(cfg.Name)
	if err != nil {
		return err
	}
	switch name {
	case "up":
		cfg.Images = args
		lock, err := lockMachine()
		if err != nil {
			return err
		}
		defer lock.Close()
		return Up(ctx, lock, dir, cfg, stderr)
	case "down":
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("there is no cluster %s in %s", cfg.Name, filepath.Dir(dir))
		}
		return Down(dir)
	case "load":
		return loadImages(ctx, dir, args)
	case "kubeconfig":
		_, err := fmt.Fprintln(stdout, filepath.Join(dir, "admin.kubeconfig"))
		return err
	case "exec":
		return enter(dir, args)
	case "proxy-mode":
		return setProxyMode(ctx, dir, args[0])
	case "settled":
		return settled(ctx, dir, args[0], args[1:])
	case "outage":
		return outage(ctx, dir, args[0], args[1], opts.away)
	case "kill":
		return signalContainer(ctx, dir, args[0], args[1], "SIGKILL")
	case "hang":
		return signalContainer(ctx, dir, args[0], args[1], "SIGSTOP")
	case "reboot":
		return reboot(ctx, dir, args[0])
	case "snapshot":
		return printSnapshot(stdout, stderr, opts.since)
	}
	return misuse("no such command; one of up, down, load, kubeconfig, exec, proxy-mode, settled, outage, kill, hang, reboot, snapshot")
}

// cacheDirectory is where everything is kept that is worth keeping outside the
// checkout.
func cacheDirectory() (string, error) {
	if dir := os.Getenv("FUNNEL_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".cache", "funnel-operator"), err
}

var clusterName = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

// directory is where the cluster of that name keeps its files.
func directory(name string) (string, error) {
	if !clusterName.MatchString(name) {
		return "", misuse(fmt.Sprintf("-name %q: letters, digits and dashes only", name))
	}
	cache, err := cacheDirectory()
	return filepath.Join(cache, "cluster-"+name), err
}
