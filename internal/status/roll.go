// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// NextRefreshes returns the pods that are to be refreshed now, those that are ready
// first, and in the order of their names: those with older rules, as many as maxUnavailable
// lets be updated at a time, less those that are and have not taken too long; none when
// one failed. All of it is read off the pods, so that whoever asks after a restart gets no
// pod a second time. The census must tell of pods that are updated while they run, and have
// counted all of them; pods that were not injected don't matter.
func (c *Census) NextRefreshes(maxUnavailable *intstr.IntOrString) []*corev1.Pod {
	if c.halted {
		return nil
	}
	slices.SortFunc(c.refreshable, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(readiness(a), readiness(b)), cmp.Compare(a.Name, b.Name))
	})
	injected := c.counts[Attached] + c.counts[Pending] + c.counts[Outdated] + c.counts[Failed]
	free := max(AtATime(maxUnavailable, injected)-c.refreshing.total, 0)
	return c.refreshable[:min(free, len(c.refreshable))]
}

// readiness orders pods that are not ready, as all those of a node that is down, after
// the others.
func readiness(pod *corev1.Pod) int {
	if NotReady(pod) {
		return 1
	}
	return 0
}

// NotReady reports whether a pod says that it is not ready.
func NotReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionFalse
	})
}

// NextStall is how long it takes until the first refresh under way has taken too long,
// which no event tells; 0 while there is none.
func (c *Census) NextStall() time.Duration { return c.nextStall }

// AtATime is how many of that many pods are refreshed at a time, where maxUnavailable
// says so; nil stands for its default.
func AtATime(maxUnavailable *intstr.IntOrString, pods int) int {
	limit := intstr.FromString(v1alpha1.DefaultMaxUnavailable)
	if maxUnavailable != nil {
		limit = *maxUnavailable
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(&limit, pods, false)
	if err != nil {
		return 1 // neither the schema nor the plugin let anything else pass
	}
	return max(n, 1)
}

// Seen is what a pod tells about one policy.
type Seen struct {
	State State
	// Detail says why, for Pending, Outdated and Failed; it may be empty.
	Detail string
	// Refreshing says that a refresh container of an Outdated pod has not ended.
	Refreshing bool
	// Failure is why the last one for these rules brought an Outdated pod nothing.
	Failure string
	// Barrier is why an Outdated pod can't be refreshed.
	Barrier error
}

// Observe sorts a pod that the policy selects into its state. digest is that of the
// policy's current rules.
func Observe(pod *corev1.Pod, policy, digest string) Seen {
	seen := observe(pod, policy, digest)
	return Seen{seen.state, seen.detail, seen.refresh.running, seen.refresh.failure, seen.refresh.barrier}
}
