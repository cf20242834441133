// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/sfunnel-io/funnel-operator/hack/benchpage"
)

const intro = `# Operator benchmark: %s

The manager, as a process with the rights that the install gives it, on a real kube-apiserver and etcd, which run on
the same machine as it and as whoever creates the load. These have a nice value of 10 and the manager has 0, so that its
own times are not those of a queue behind what elsewhere runs on other machines. Pods are objects: their statuses are
written as the kubelet writes them. Of every five policies two are backends, one is a client, one names a Service in its
rules, and one has rules as text. Written by ` + "`make bench-operator`" + `; each line says where and when it was measured.

At most %d requests of the load are under way at a time. Where fewer pods a second were reached than asked for, the machine
was saturated, and latencies are those of its queues: an edit's own request, for one, waits in them. What does not depend on the
machine is how often ConfigMaps are written, what is written while nothing happens, and missed pods; memory hardly does. How often
statuses are written and pods listed does: a look that comes later sees more at once, and some lists are due only after a time.

`

func (b *book) text() string {
	var text strings.Builder
	fmt.Fprintf(&text, intro, b.name, writers)
	for _, r := range b.results {
		fmt.Fprintf(&text, "- %d policies, %d pods that they select, %d other pods, %d other ConfigMaps, %d policies a namespace: %s. It took %s.\n",
			r.Policies, r.Pods, r.OtherPods, r.OtherConfigMaps, r.PerNamespace, r.Machine, r.Took.Round(time.Second))
	}
	var goals []benchpage.Goal
	for _, r := range b.results {
		goals = append(goals, r.goals()...)
	}
	benchpage.WriteGoals(&text, goals)
	fmt.Fprintf(&text, "\n![How it grows](%s.svg)\n", b.name)
	b.starts(&text)
	b.memoryText(&text)
	b.edits(&text)
	b.webhook(&text)
	b.callsText(&text)
	return text.String()
}

// goals are what the operator is to reach; what a cold start of another size may take
// is in proportion. Latencies hold at the rate that was reached, which is a goal of its own.
func (r result) goals() []benchpage.Goal {
	most := func(what string, measured, bound float64, unit string) benchpage.Goal {
		return benchpage.Goal{What: fmt.Sprintf("%d policies: %s", r.Policies, what), Measured: measured, Bound: bound, AtMost: true, Unit: unit}
	}
	rate := func(what string, reached, asked float64) benchpage.Goal {
		return benchpage.Goal{What: fmt.Sprintf("%d policies: %s", r.Policies, what), Measured: math.Round(reached), Bound: asked, Unit: "/s"}
	}
	cold := 10.0
	if r.Policies > 1000 {
		cold = 90 * float64(r.Policies) / 10000
	}
	rolling := ", while pods roll at " + pods(r.Edits.reached(), r.Edits.Asked)
	goals := []benchpage.Goal{
		most("cold start", r.Cold.Seconds, cold, " s"),
		most("resident set at rest", r.Memory.Resident, 128, " MiB"),
		most("resident set at most", max(r.Cold.Peak, r.Before.Resident, r.Restart.Peak), 128, " MiB"),
		rate("pods that roll while policies are edited", r.Edits.reached(), r.Edits.Asked),
		most("edit to ConfigMap, median"+rolling, r.Edits.P50, 0.3, " s"),
		most("edit to ConfigMap, p99"+rolling, r.Edits.P99, 1, " s"),
		most("edit to ConfigMap after the edit's own event, median"+rolling, r.Edits.OwnP50, 0.3, " s"),
		most("edit to ConfigMap after the edit's own event, p99"+rolling, r.Edits.OwnP99, 1, " s"),
		most(fmt.Sprintf("API writes in %.0f s in which nothing happens", r.Steady.Seconds), float64(writes(r.Steady.Calls)), 0, ""),
		most("API calls while unrelated objects are created", float64(r.Others.Calls.total()), 0, ""),
	}
	for _, c := range r.Creates {
		at := pods(c.Reached, c.Asked)
		goals = append(goals,
			rate("pods created", c.Reached, c.Asked),
			most("webhook's own p99 at "+at, c.OwnP99, 10, " ms"),
			most("pods missed at "+at, float64(c.Missed), 0, ""))
	}
	return goals
}

// pods is a rate of them, and, where that is less, the one that was asked for.
func pods(reached, asked float64) string {
	if math.Round(reached) >= asked {
		return fmt.Sprintf("%.0f/s", asked)
	}
	return fmt.Sprintf("%.0f/s of %.0f/s asked", reached, asked)
}

func (b *book) starts(text *strings.Builder) {
	fmt.Fprint(text, `
## Start

Cold: all policies and their pods are there and nothing is published. It ends when every policy has its ConfigMap and a status
that counts its pods. Attach: all init containers report, as fast as the machine takes it, clients after their backends; it ends when all
statuses count all pods as attached. Restart: everything is in place; it ends with the last call of the new manager. Writes alone: as many
ConfigMaps are applied and statuses updated as in a cold start, at as many at a time, by a client that knows beforehand what to write, while no manager
runs. No manager can start faster on this machine: what it adds is the difference.

| policies | writes alone | cold | a policy | webhook ready | calls a policy | reconciles a policy | manager's CPU | attach | calls a pod | restart | webhook ready | calls a policy | reconciles a policy | writes |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
`)
	for _, r := range b.results {
		n := float64(r.Policies)
		fmt.Fprintf(text, "| %d | %s | %.1f s | %.1f ms | %.2f s | %.2f | %.1f | %.1f s | %.1f s | %.2f | %.1f s | %.2f s | %.2f | %.1f | %d |\n",
			r.Policies, r.Alone, r.Cold.Seconds, 1000*r.Cold.Seconds/n, r.Cold.Ready, float64(r.Cold.Calls.total())/n, r.Cold.Reconciles/n, r.Cold.CPU,
			r.Attach.Seconds, float64(r.Attach.Calls.total())/float64(r.Pods),
			r.Restart.Seconds, r.Restart.Ready, float64(r.Restart.Calls.total())/n, r.Restart.Reconciles/n, writes(r.Restart.Calls))
	}
}

func (b *book) memoryText(text *strings.Builder) {
	fmt.Fprint(text, `
## Memory

Live is the heap that a garbage collection left. Without and with what concerns no policy; with it after a restart and the steady window.

| policies | pods | peak of the cold start | resident without | live without | resident with | live with | peak of the restart |
|---:|---:|---:|---:|---:|---:|---:|---:|
`)
	for _, r := range b.results {
		fmt.Fprintf(text, "| %d | %d | %.0f MiB | %.0f MiB | %.1f MiB | %.0f MiB | %.1f MiB | %.0f MiB |\n",
			r.Policies, r.Pods, r.Cold.Peak, r.Before.Resident, r.Before.Live, r.Memory.Resident, r.Memory.Live, r.Restart.Peak)
	}
}

func (b *book) edits(text *strings.Builder) {
	fmt.Fprintf(text, `
## Edits while pods roll

%d policies a second are edited while pods are deleted, created through the webhook and attach. From the edit's request to the
event of the ConfigMap; own is what of it comes after the edit's own event, when the manager can know of it. Refused: creations
that the API server could not ask the webhook about; they were tried again.

| policies | edits | pods a second asked | reached | refused | median | p99 | longest | own median | own p99 | calls a pod | of it writes |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
`, editsPerSecond)
	for _, r := range b.results {
		e, rolled := r.Edits, float64(r.Edits.Rolled)
		fmt.Fprintf(text, "| %d | %d | %.0f | %.0f | %d | %.3f s | %.3f s | %.3f s | %.3f s | %.3f s | %.2f | %.2f |\n", r.Policies, e.Edits, e.Asked, e.reached(), e.Refused,
			e.P50, e.P99, e.Max, e.OwnP50, e.OwnP99, float64(e.Calls.total())/rolled, float64(writes(e.Calls))/rolled)
	}
}

func (b *book) webhook(text *strings.Builder) {
	fmt.Fprint(text, `
## Webhook

Pods are created at a rate, in namespaces where policies select them. Own: what the manager takes for an answer, from when it has
read the question. Whole: what whoever creates the pod waits.

| policies | asked | reached | pods | missed | refused | own median | own p99 | within 10 ms | whole median | whole p99 | manager's CPUs | calls a pod |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
`)
	for _, r := range b.results {
		for _, c := range r.Creates {
			fmt.Fprintf(text, "| %d | %.0f/s | %.0f/s | %d | %d | %d | %.2f ms | %.2f ms | %.2f %% | %.1f ms | %.1f ms | %.2f | %.2f |\n", r.Policies,
				c.Asked, c.Reached, c.Created, c.Missed, c.Refused, c.OwnP50, c.OwnP99, 100*c.OwnIn10, c.P50, c.P99, c.CPU, float64(c.Calls.total())/float64(c.Created))
		}
	}
}

func (b *book) callsText(text *strings.Builder) {
	fmt.Fprint(text, `
## Calls

What the manager asked of the API server, from its audit log, but for the lease and reviews of who reads metrics.

| policies | call | cold | attach | others | restart | steady | edits |
|---:|---|---:|---:|---:|---:|---:|---:|
`)
	for _, r := range b.results {
		phases := []calls{r.Cold.Calls, r.Attach.Calls, r.Others.Calls, r.Restart.Calls, r.Steady.Calls, r.Edits.Calls}
		all := map[string]bool{}
		for _, p := range phases {
			for what := range p {
				all[what] = true
			}
		}
		for _, what := range slices.Sorted(maps.Keys(all)) {
			fmt.Fprintf(text, "| %d | %s |", r.Policies, what)
			for _, p := range phases {
				fmt.Fprintf(text, " %d |", p[what])
			}
			fmt.Fprintln(text)
		}
	}
}
