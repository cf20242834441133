// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sfunnel-io/funnel-operator/internal/inject"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// lookEvery is how often the pods are looked at.
const lookEvery = 500 * time.Millisecond

// refresh is one run of the command.
type refresh struct {
	outside
	cluster        cluster
	maxUnavailable *intstr.IntOrString
	flows          inject.Flows
	dry            bool

	// pods are those of the namespace as they were last read, and changing the ones to
	// read again.
	pods     map[string]*corev1.Pod
	changing map[string]bool
	// want holds, by pod, the digests that it should run, by policy.
	want map[string]map[string]string
	// told is what was last said of each pod, and begun the container that it was given.
	told  map[string]string
	begun map[string]string
	// bad are the pods that will not get the rules.
	bad map[string]bool
}

func (r *refresh) add(pod, policy, digest string) {
	if r.want[pod] == nil {
		r.want[pod] = map[string]string{}
	}
	r.want[pod][policy] = digest
}

// verdict is what is to be done about one pod.
type verdict int

const (
	done    verdict = iota
	waiting         // has a container that has not ended
	ready           // may be given one
	lost            // will not get the rules from us
)

// run refreshes until nothing is left to do, and returns the exit code.
func (r *refresh) run(ctx context.Context) int {
	r.told, r.begun, r.bad, r.changing = map[string]string{}, map[string]string{}, map[string]bool{}, map[string]bool{}
	for {
		left, err := r.step(ctx)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			fmt.Fprintf(r.stderr, "kubectl funnel: refresh: %v\n", err)
			return exitFound
		}
		if left == 0 {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
	return r.summary()
}

// step looks at the pods, reads those anew that change, gives containers to as many as may have them, and returns
// how many are still to be looked at.
func (r *refresh) step(ctx context.Context) (left int, err error) {
	var next []*corev1.Pod
	running := 0
	for _, name := range slices.Sorted(maps.Keys(r.want)) {
		if r.changing[name] {
			if r.pods[name], err = r.cluster.pod(ctx, name); err != nil {
				return 0, err
			}
		}
		v, text := r.judge(name, r.pods[name])
		r.changing[name] = v == waiting
		if text != "" {
			r.tell(name, text)
		}
		switch v {
		case waiting:
			running++
		case ready:
			next = append(next, r.pods[name])
		case lost:
			r.bad[name] = true
		}
	}
	if r.stopped() {
		return running, nil
	}
	free := max(status.AtATime(r.maxUnavailable, len(r.want))-running, 0)
	if r.dry {
		free = len(next)
	}
	for _, pod := range next[:min(free, len(next))] {
		if err := r.begin(ctx, pod); err != nil {
			return 0, err
		}
	}
	if r.dry {
		return 0, nil
	}
	return running + len(next), nil
}

// stopped reports whether a container that was added has failed.
func (r *refresh) stopped() bool {
	for name := range r.bad {
		if r.begun[name] != "" {
			return true
		}
	}
	return false
}

// judge says what is to be done about a pod, and what is to be said of it.
func (r *refresh) judge(name string, pod *corev1.Pod) (verdict, string) {
	if pod == nil {
		return done, "is gone"
	}
	worst, text := done, "runs the current rules"
	for _, policy := range slices.Sorted(maps.Keys(r.want[name])) {
		seen := status.Observe(pod, policy, r.want[name][policy])
		switch {
		case seen.State == status.Gone:
			return done, "is gone"
		case seen.State == status.Attached, seen.State == status.OptedOut:
		case seen.State == status.Missing:
			return lost, "was not injected: replace it"
		case seen.State != status.Outdated:
			return lost, strings.TrimSuffix(fmt.Sprintf("%s: %s", seen.State, seen.Detail), ": ")
		case seen.Refreshing:
			return waiting, ""
		case r.begun[name] != "" && !r.seen(pod):
			return waiting, "" // what was read is older than what was written
		case r.begun[name] != "":
			return lost, "failed, and keeps its rules from before: " + orNot(seen.Detail)
		case seen.Barrier != nil:
			return lost, fmt.Sprintf("can't be refreshed, replace it: %v", seen.Barrier)
		default:
			worst, text = ready, ""
		}
	}
	return worst, text
}

func orNot(detail string) string {
	if detail == "" {
		return "it attached other rules than the current ones"
	}
	return strings.TrimPrefix(detail, "refresh failed: ")
}

// seen reports whether the pod shows the container that was added.
func (r *refresh) seen(pod *corev1.Pod) bool {
	return slices.ContainsFunc(inject.Refreshes(pod), func(c corev1.EphemeralContainer) bool { return c.Name == r.begun[pod.Name] })
}

func adding(c corev1.EphemeralContainer) string {
	text := "added " + c.Name
	if slices.Contains(c.SecurityContext.Capabilities.Add, "SYS_ADMIN") {
		text += ", with SYS_ADMIN to hand over flows"
	}
	return text
}

// begin adds a container to a pod.
func (r *refresh) begin(ctx context.Context, pod *corev1.Pod) error {
	c, err := inject.Refresh(pod, r.missing(pod), r.flows, status.RemembersFlows(pod))
	if err != nil {
		return fmt.Errorf("pod/%s: %w", pod.Name, err)
	}
	if r.dry {
		r.tell(pod.Name, strings.Replace(adding(c), "added", "would get", 1))
		return nil
	}
	r.changing[pod.Name] = true
	switch err := r.cluster.add(ctx, pod, c); {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err): // it changed: look again
		return nil
	case err != nil:
		return permission(err, r.cluster.namespace)
	}
	r.begun[pod.Name] = c.Name
	r.tell(pod.Name, adding(c))
	return nil
}

// missing are the digests that the pod does not run.
func (r *refresh) missing(pod *corev1.Pod) map[string]string {
	missing := map[string]string{}
	for policy, digest := range r.want[pod.Name] {
		if status.Observe(pod, policy, digest).State == status.Outdated {
			missing[policy] = digest
		}
	}
	return missing
}

// tell says something of a pod once.
func (r *refresh) tell(pod, text string) {
	if r.told[pod] != text {
		r.told[pod] = text
		fmt.Fprintf(r.stdout, "pod/%s: %s\n", pod, text)
	}
}

// summary counts what came of it.
func (r *refresh) summary() int {
	switch {
	case r.stopped():
		left := len(r.want) - len(r.bad)
		for name := range r.want {
			if r.begun[name] != "" && !r.bad[name] || r.told[name] == "runs the current rules" {
				left--
			}
		}
		fmt.Fprintf(r.stderr, "kubectl funnel: refresh: stopped at the first failure; %d pods were not refreshed\n", max(left, 0))
		return exitFound
	case len(r.bad) > 0:
		fmt.Fprintf(r.stderr, "kubectl funnel: refresh: %d of %d pods are without the current rules\n", len(r.bad), len(r.want))
		return exitFound
	case len(r.want) == 0:
		fmt.Fprintln(r.stdout, "There is no pod to refresh.")
	}
	return exitDone
}
