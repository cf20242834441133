// SPDX-License-Identifier: Apache-2.0

package status

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
	"github.com/sfunnel-io/funnel-operator/internal/report"
)

// refreshAtMost is how long a refresh container takes while all is well: two minutes
// until the rules are there, and three until its node has its image and starts it.
const refreshAtMost = 5 * time.Minute

// refresh is what became of the containers that were to bring an outdated pod the
// rules, and whether another one can.
type refresh struct {
	running bool   // one has not ended yet
	waiting string // what that one waits for
	failure string // why the last one for these rules brought nothing
	barrier error  // why there can't be another one
}

func (r refresh) text() string {
	switch {
	case r.running && r.waiting != "":
		return "being refreshed, " + r.waiting
	case r.running:
		return "being refreshed"
	case r.failure != "":
		return "refresh failed: " + r.failure
	}
	return ""
}

// refreshed returns how the last refresh container that attached rules ended, nil
// when none did since the init container ended: a pod whose sandbox was made anew
// has what its init container attached then, and nothing while that runs again.
// Times are in whole seconds; within one, a refresh is later.
func refreshed(pod *corev1.Pod, first *corev1.ContainerStateTerminated) *corev1.ContainerStateTerminated {
	if !endedNow(pod) {
		return nil
	}
	var latest *corev1.ContainerStateTerminated
	for _, c := range inject.Refreshes(pod) {
		ended := refreshState(pod, c.Name).Terminated
		if ended == nil || ended.FinishedAt.Before(&first.FinishedAt) || !succeeded(ended) {
			continue
		}
		if latest == nil || !ended.FinishedAt.Before(&latest.FinishedAt) {
			latest = ended
		}
	}
	return latest
}

// endedNow reports whether our init container does not run again.
func endedNow(pod *corev1.Pod) bool {
	for i := range pod.Status.InitContainerStatuses {
		if s := &pod.Status.InitContainerStatuses[i]; s.Name == v1alpha1.InitContainerName {
			return s.State.Terminated != nil
		}
	}
	return false
}

func succeeded(ended *corev1.ContainerStateTerminated) bool {
	r, err := report.Parse(ended.Message)
	return err == nil && r.Result == report.Attached && ended.ExitCode == 0
}

// EphemeralContainers is the subresource of pods by which refresh containers are added.
const EphemeralContainers = "ephemeralcontainers"

// refreshState is the state of an ephemeral container; one that the kubelet has not
// seen yet has none.
func refreshState(pod *corev1.Pod, name string) corev1.ContainerState {
	for i := range pod.Status.EphemeralContainerStatuses {
		if s := &pod.Status.EphemeralContainerStatuses[i]; s.Name == name {
			return s.State
		}
	}
	return corev1.ContainerState{}
}

// refreshOf looks at the refresh containers of a pod that lacks the rules of that
// digest.
func refreshOf(pod *corev1.Pod, policy, digest string) refresh {
	r := refresh{barrier: inject.Refreshable(pod, policy)}
	for _, c := range inject.Refreshes(pod) {
		state := refreshState(pod, c.Name)
		ended := state.Terminated
		r.failure = ""
		switch {
		case ended == nil:
			r.running = true
			if state.Waiting != nil && state.Waiting.Reason != "ContainerCreating" && state.Waiting.Reason != "PodInitializing" {
				r.waiting = word(state.Waiting)
			}
		case inject.Awaits(c, policy) == digest && !succeeded(ended):
			r.failure = judge(ended, policy, digest).detail
		}
	}
	return r
}

// left is how long the refresh containers of a pod may take yet, as of now by the clock of
// the API server; nothing or less is too long. Those of a pod that does not tell when it got
// them have all their time.
func left(pod *corev1.Pod, now time.Time) time.Duration {
	added := LastAdded(pod)
	if added.IsZero() {
		return refreshAtMost
	}
	return added.Add(refreshAtMost).Sub(now)
}

// LastAdded is when somebody last added an ephemeral container to a pod, by the clock
// of the API server; zero where the pod does not tell.
func LastAdded(pod *corev1.Pod) time.Time {
	var last time.Time
	for _, entry := range pod.ManagedFields {
		if entry.Subresource == EphemeralContainers && entry.Time != nil && entry.Time.After(last) {
			last = entry.Time.Time
		}
	}
	return last
}

// stuck is how far the refresh container came that does not end.
func stuck(pod *corev1.Pod) string {
	for i := range pod.Status.EphemeralContainerStatuses {
		s := &pod.Status.EphemeralContainerStatuses[i]
		switch {
		case !inject.IsRefresh(s.Name), s.State.Terminated != nil:
			continue
		case s.State.Waiting != nil:
			return word(s.State.Waiting)
		}
		return "still running"
	}
	return "not started by node " + pod.Spec.NodeName
}

// RemembersFlows reports whether the programs in an injected pod remember flows, so
// that replacing them takes one capability more.
func RemembersFlows(pod *corev1.Pod) bool {
	first, _ := initContainer(pod)
	if first == nil {
		return false
	}
	if latest := refreshed(pod, first); latest != nil {
		first = latest
	}
	r, _ := report.Parse(first.Message)
	return r.KeepsFlows
}
