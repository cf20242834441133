// SPDX-License-Identifier: Apache-2.0

// Command kubectl-funnel is a plugin of kubectl: it injects pods in files, shows
// which rules a policy gives, finds faults before anything is applied, and says
// what is wrong with the policies of a cluster and what to do next.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"github.com/sfunnel-io/funnel-operator/internal/cli"
	"github.com/sfunnel-io/funnel-operator/internal/version"
)

// The exit codes.
const (
	exitDone  = 0
	exitFound = 1 // faults in the input, or something wrong in the cluster
	exitWrong = 2 // flags, files, no connection
)

// outside is everything that a run takes from its surroundings.
type outside struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

func main() {
	os.Exit(run(context.Background(), os.Args[1:], outside{os.Stdin, os.Stdout, os.Stderr}))
}

// run does what the arguments say and returns the exit code.
func run(ctx context.Context, args []string, o outside) int {
	program := cli.Program{
		Commands: map[string]func([]string) int{
			"inject": func(rest []string) int { return injectCommand(rest, o) },
			"render": func(rest []string) int { return renderCommand(rest, o) },
			"lint":   func(rest []string) int { return lintCommand(rest, o) },
			"refresh": func(rest []string) int {
				return cli.Heeding(ctx, func(ctx context.Context) int { return refreshCommand(ctx, rest, o) })
			},
			"status": func(rest []string) int {
				return cli.Heeding(ctx, func(ctx context.Context) int { return statusCommand(ctx, rest, o) })
			},
			"version": func(rest []string) int { return versionCommand(rest, o) },
		},
		Help:    o.help,
		Unknown: func(command string) int { return o.wrong("unknown command %q; see kubectl funnel help", command) },
	}
	if len(args) == 0 {
		return o.help()
	}
	return program.Run(args[0], args[1:])
}

func (o outside) help() int {
	fmt.Fprint(o.stdout, usage)
	return exitDone
}

func versionCommand(args []string, o outside) int {
	if len(args) > 0 {
		return o.wrong("version: unexpected %q", args)
	}
	fmt.Fprintf(o.stdout, "kubectl-funnel %s\n", version.String())
	return exitDone
}

// wrong says why nothing was done.
func (o outside) wrong(format string, args ...any) int {
	fmt.Fprintf(o.stderr, "kubectl funnel: "+format+"\n", args...)
	return exitWrong
}

// parse reads flags, which may stand behind arguments, and returns these.
func parse(flags *pflag.FlagSet, args []string) ([]string, error) {
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil {
		return nil, fmt.Errorf("%s: %w", flags.Name(), err)
	}
	return flags.Args(), nil
}

const usage = `kubectl funnel works with FunnelPolicies.

Usage:
  kubectl funnel inject -f FILE… --image IMAGE [--policy NAME…]
        prints the input with its pods injected, as the webhook would do it: Pods,
        Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs and CronJobs that a
        FunnelPolicy of the input selects; with --policy, all of them, for these
        policies. Documents without such pods, and all comments, stay. How many of how
        many such workloads were injected is said on the standard error.
  kubectl funnel render -f FILE… [--address SERVICE=IP…] [-o configmap]
        the rule sets that the policies of the input give
  kubectl funnel lint -f FILE…
        faults and warnings, with their places; FunnelPolicies are held against the schema
        of their kind, CEL rules included, as an API server does it
  kubectl funnel status [POLICY] [-n NAMESPACE | -A] [-o json]
        what is wrong with the policies of a cluster, and the next command
  kubectl funnel refresh POLICY|pod/NAME… [-n NAMESPACE] [--dry-run]
        brings pods that run without the current rules these rules, by an ephemeral
        container in each, with your permissions (get and list pods, list funnelpolicies,
        patch pods/ephemeralcontainers); stops at the first failure
  kubectl funnel version

Flags:
  -f, --filename FILE a file with YAML documents, a folder with such files (.yaml, .yml
                      and .json), or - for the standard input; may be repeated
  -n, --namespace NAMESPACE    of objects that name none; status, refresh: of the policies
  -A, --all-namespaces         status: of all
  -o, --output FORMAT render: configmap; status: json
  --image IMAGE       of the init container, best by digest (registry.example/attacher@sha256:…)
  --image-pull-policy POLICY   IfNotPresent, Always or Never
  --cpu, --memory     request and limit of the init container
  --selinux-type TYPE of the init container, such as spc_t, for nodes that enforce SELinux
  --policy NAME       may be repeated
  --address [NAMESPACE/]SERVICE=IP   a cluster IP, which files don't tell; may be repeated
  --max-unavailable N|N%  pods to refresh at a time; 10% unless the policy says more
  --flows keep|refuse|drop  what becomes of flows that a pod's programs remember: they are
                      handed over, by SYS_ADMIN for that container (keep); such pods stay
                      as they are (refuse); they break (drop)
  --timeout DURATION  for the whole refresh; 10m
  --dry-run           only say what would be done
  --kubeconfig, --context, --cluster, --user, --as, --as-group, --server, --token …
                      as for kubectl: status, refresh

Exit status: 0 done, nothing wrong; 1 something is wrong, or the input has faults (no
output then, but for lint, status, and render without -o); 2 wrong use, no such file, no connection.
`
