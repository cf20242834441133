// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/sfunnel-io/funnel-operator/internal/attach"
	"github.com/sfunnel-io/funnel-operator/internal/datapath"
	"github.com/sfunnel-io/funnel-operator/internal/report"
	"github.com/sfunnel-io/funnel-operator/internal/version"
)

// attachCommand attaches the rules and leaves a report, whatever happens. With
// CLEAN=1 it detaches.
func attachCommand(ctx context.Context, args []string, o outside) int {
	j := attachment{outside: o}
	j.report.Result = report.Failed
	if clean, err := isSet(o.getenv, "CLEAN"); err != nil {
		return j.finish(faults{err.Error()})
	} else if clean {
		return cleanCommand(args, o)
	}
	return j.finish(j.run(ctx, args))
}

// attachment is one run of attach with the report that it fills.
type attachment struct {
	outside
	choices
	input
	pod, debug bool
	report     report.Report
}

func (a *attachment) run(ctx context.Context, args []string) error {
	if err := a.readInput(ctx, args); err != nil {
		return err
	}
	if err := a.checkPod(); err != nil {
		return err
	}
	go datapath.Warm()
	if a.debug {
		a.explain()
	}
	interfaces, err := attach.Attach(ctx, attach.Options{
		Netns: a.netns, Sets: a.sets(a.interfaces), Directions: a.input.directions, Whole: a.pod, Version: version.String(),
		Flows: a.choices.flows, DropFlows: a.dropFlows, Attempts: a.attempts, Delay: a.delay, Waiting: a.waiting,
	})
	if err != nil {
		return err
	}
	a.tell(interfaces)
	a.report.Result = report.Attached
	return nil
}

// readInput reads variables, flags and rules, all faults at once.
func (a *attachment) readInput(ctx context.Context, args []string) error {
	var all faults
	var err error
	a.pod, err = isSet(a.getenv, "SFUNNEL_POD")
	all.join(err)
	a.debug, err = isSet(a.getenv, "DEBUG")
	all.join(err)
	var rest []string
	a.choices, rest, err = readChoices("attach", args, a.getenv)
	all.join(err)
	if len(rest) > 0 {
		all = append(all, fmt.Sprintf("attach takes no argument, found %q", rest[0]))
	}
	if len(all) > 0 {
		return all
	}
	from := source{a.folder, a.getenv("SFUNNEL_RULESET"), a.choices.directions}
	a.input, err = a.awaited.read(from, timer(ctx, a.awaitAtMost))
	a.report.Digests = a.digests()
	return err
}

// checkPod refuses what a pod may not do: change the network of its node.
func (a *attachment) checkPod() error {
	if !a.pod {
		return nil
	}
	if a.netns != "" {
		return faults{"a pod attaches rules to its own network only: NETNS and --netns must be empty with SFUNNEL_POD=1"}
	}
	host, err := attach.InHostNetwork()
	if err != nil {
		return err
	}
	if host {
		return errors.New("this pod shares its node's network (hostNetwork: true), where the rules would hold for the whole node")
	}
	return nil
}

func (a *attachment) waiting(missing *attach.MissingError) {
	a.note("attacher: %v; looking again in %v", missing, a.delay)
}

// tell prints what was attached, with warnings, and puts it into the report.
func (a *attachment) tell(interfaces []attach.Attached) {
	for _, i := range interfaces {
		a.print("%s: %d ingress and %d egress rules attached", i.Name, i.Ingress, i.Egress)
		if i.KeptFlows {
			a.note("%s: flows of the programs before go on, in their table of %d entries", i.Name, i.FlowEntries)
		}
		if i.Overhead > i.Headroom {
			a.note("warning: %s: MTU %d, the rules add %d bytes, routes leave room for %d: set a route MTU of %d",
				i.Name, i.MTU, i.Overhead, i.Headroom, i.MTU-i.Overhead)
		}
		for _, f := range i.InFront {
			a.note("warning: %s %s runs before our program and can keep packets from it", i.Name, f)
		}
		a.report.KeepsFlows = a.report.KeepsFlows || i.RemembersFlows
		a.report.Interfaces = append(a.report.Interfaces, report.Interface{
			Name: i.Name, MTU: i.MTU, Overhead: i.Overhead, Headroom: i.Headroom,
			IngressRules: i.Ingress, EgressRules: i.Egress, InFront: i.InFront,
		})
	}
}

// explain prints what is about to be attached.
func (a *attachment) explain() {
	a.note("attacher %s, kernel %s", version.String(), kernelRelease())
	for _, p := range a.policies {
		a.note("policy %q: digest %s, priority %d, interfaces %q", p.name, p.digest, p.priority, p.interfaces)
		for _, r := range p.ingress {
			a.note("  ingress: %s", r)
		}
		for _, r := range p.egress {
			a.note("  egress:  %s", r)
		}
	}
}
