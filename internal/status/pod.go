// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/report"
)

// State says what a selected pod runs of a policy.
type State uint8

// The states. Gone and OptedOut pods are not matched; the others add up to the
// matched ones.
const (
	Gone     State = iota // terminating or finished
	OptedOut              // carries the label that keeps injection away
	Attached              // reported success with the current digest
	Pending               // injected, has not reported yet
	Outdated              // reported success without the current digest
	Missing               // runs without injection
	Failed                // reported an error, or ended without a report
	states
)

// String returns the state's name in status.pods and in metrics.
func (s State) String() string {
	names := [states]string{"gone", "optedOut", "attached", "pending", "outdated", "missing", "failed"}
	return names[s]
}

// observation is what one pod tells about one policy.
type observation struct {
	state   State
	detail  string // why, for Pending, Outdated and Failed; may be empty
	report  report.Report
	refresh refresh // of Outdated pods
}

// observe sorts a pod into its state. digest is that of the policy's current
// rules; an empty one is never attached.
func observe(pod *corev1.Pod, policy, digest string) observation {
	switch {
	case pod.DeletionTimestamp != nil, Finished(pod):
		return observation{state: Gone}
	case pod.Labels[v1alpha1.LabelInject] == v1alpha1.InjectFalse:
		return observation{state: OptedOut}
	case !injected(pod):
		return observation{state: Missing}
	}
	ended, waiting := initContainer(pod)
	if ended == nil {
		return observation{state: Pending, detail: waiting}
	}
	seen := judge(ended, policy, digest)
	if success := refreshed(pod, ended); success != nil {
		seen = judge(success, policy, digest)
	}
	if seen.state == Outdated {
		seen.refresh = refreshOf(pod, policy, digest)
		seen.detail = cmp.Or(seen.refresh.text(), seen.detail)
	}
	return seen
}

// Finished reports whether all containers of a pod have ended for good.
func Finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// injected reports whether the pod has both the label and the container: a
// label that somebody wrote by hand attaches nothing.
func injected(pod *corev1.Pod) bool {
	if pod.Labels[v1alpha1.LabelInjected] != v1alpha1.InjectedTrue {
		return false
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == v1alpha1.InitContainerName {
			return true
		}
	}
	return false
}

// word is why a container waits: where its image can't be pulled, the longer-lived of the
// two reasons between which the kubelet goes back and forth.
func word(waiting *corev1.ContainerStateWaiting) string {
	if waiting.Reason == "ErrImagePull" {
		return "ImagePullBackOff"
	}
	return waiting.Reason
}

// initContainer returns how our init container ended, now or the last time
// (crash loop), or nil and what it waits for.
func initContainer(pod *corev1.Pod) (ended *corev1.ContainerStateTerminated, waiting string) {
	for i := range pod.Status.InitContainerStatuses {
		s := &pod.Status.InitContainerStatuses[i]
		switch {
		case s.Name != v1alpha1.InitContainerName:
			continue
		case s.State.Terminated != nil:
			return s.State.Terminated, ""
		case s.LastTerminationState.Terminated != nil:
			return s.LastTerminationState.Terminated, ""
		case s.State.Waiting != nil && s.State.Waiting.Reason != "PodInitializing":
			return nil, word(s.State.Waiting)
		}
	}
	return nil, ""
}

// judge reads the report of an init container that ended.
func judge(ended *corev1.ContainerStateTerminated, policy, digest string) observation {
	r, err := report.Parse(ended.Message)
	switch {
	case err != nil:
		return observation{state: Failed, detail: withoutReport(ended, err)}
	case r.Result != report.Attached || ended.ExitCode != 0:
		return observation{state: Failed, detail: failure(ended, r), report: r}
	case r.Runs(policy, digest):
		return observation{state: Attached, report: r}
	case r.Digests[policy] == "" && r.Truncated:
		return observation{state: Outdated, detail: "its report was cut off before this policy's digest", report: r}
	}
	return observation{state: Outdated, report: r}
}

func failure(ended *corev1.ContainerStateTerminated, r report.Report) string {
	if r.Error != "" {
		return oneLine(r.Error)
	}
	return fmt.Sprintf("exit code %d", ended.ExitCode)
}

// withoutReport tells of a container that was killed, could not start, or ran
// another program.
func withoutReport(ended *corev1.ContainerStateTerminated, err error) string {
	text := fmt.Sprintf("exit code %d", ended.ExitCode)
	if ended.Reason != "" {
		text += ", " + ended.Reason
	}
	if ended.Message == "" {
		return text + ", no report"
	}
	return oneLine(fmt.Sprintf("%s, %v: %s", text, err, ended.Message))
}
