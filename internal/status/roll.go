// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// NextRefreshes returns the pods that are to be refreshed now, in the order of
// their names: those without the rules of that digest, as many as the policy lets
// be updated at a time, less those that are; none when one failed. All of it is read
// off the pods, so that whoever asks after a restart gets no pod a second time.
// The policy updates in place, and the pods are those that it selects.
func NextRefreshes(p *v1alpha1.FunnelPolicy, pods []corev1.Pod, digest string) []*corev1.Pod {
	var ready []*corev1.Pod
	matched, running, failed := 0, 0, 0
	for i := range pods {
		seen := observe(&pods[i], p.Name, digest)
		if seen.state == Gone || seen.state == OptedOut || seen.state == Missing {
			continue
		}
		matched++
		switch r := seen.refresh; {
		case seen.state != Outdated:
		case r.running:
			running++
		case r.failure != "":
			failed++
		case r.barrier != nil:
		default:
			ready = append(ready, &pods[i])
		}
	}
	if failed > 0 {
		return nil
	}
	slices.SortFunc(ready, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	var limit *intstr.IntOrString
	if p.Spec.InPlace != nil {
		limit = p.Spec.InPlace.MaxUnavailable
	}
	free := max(AtATime(limit, matched)-running, 0)
	return ready[:min(free, len(ready))]
}

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
