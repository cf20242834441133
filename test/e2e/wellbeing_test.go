// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	reports "github.com/sfunnel-io/funnel-operator/internal/report"
)

// well waits until all is well: an edit is published, a new pod is injected, and every
// pod of these apps, whose policies have their names, runs its current rules.
func (c *cluster) well(apps ...string) {
	GinkgoHelper()
	c.published()
	Eventually(c.tryPod).Should(Succeed())
	for _, app := range apps {
		c.running(app)
		Eventually(func() error { return c.accounted(app, true) }).Should(Succeed())
	}
}

// edits counts those of the policy pulse, which selects no pod.
var edits int

// published edits a policy and waits until its ConfigMap says so.
func (c *cluster) published() {
	GinkgoHelper()
	edits++
	match := fmt.Sprintf("udp dport %d ", 10000+edits)
	Eventually(func() error {
		_, err := c.tryKubectl(textPolicy("pulse", match+"drop"), "apply", "-f", "-")
		return err
	}).Should(Succeed())
	Eventually(func() (string, error) {
		var held corev1.ConfigMap
		err := c.api.Get(GinkgoT().Context(), c.keyOf("pulse-funnel"), &held)
		return held.Data["egress.rules"], err
	}).Should(ContainSubstring(match))
}

// tryPod asks the API server to create a pod that a policy selects, without doing it: that
// is injected, or the error says why not.
func (c *cluster) tryPod() error {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, GenerateName: "try-", Labels: map[string]string{"app": "client"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "client", Image: "localhost/echo:dev"}}},
	}
	if err := c.api.Create(GinkgoT().Context(), p, client.DryRunAll); err != nil {
		return err
	}
	if len(p.Spec.InitContainers) != 1 || p.Spec.InitContainers[0].Image != c.attachers[len(c.attachers)-1] {
		return fmt.Errorf("not injected: %+v", p.Spec.InitContainers)
	}
	return nil
}

// accounted says what keeps a policy's status from being what its pods reported: each
// runs the current rules, or is counted as outdated; or, where all must, runs them.
func (c *cluster) accounted(app string, all bool) error {
	var policy v1alpha1.FunnelPolicy
	var pods corev1.PodList
	err := errors.Join(
		c.api.Get(GinkgoT().Context(), c.keyOf(app), &policy),
		c.api.List(GinkgoT().Context(), &pods, client.InNamespace(c.namespace), client.MatchingLabels{"app": app}),
	)
	if err != nil {
		return err
	}
	var want v1alpha1.PodCounts
	for i := range pods.Items {
		if pods.Items[i].DeletionTimestamp != nil {
			return fmt.Errorf("%s is ending", pods.Items[i].Name)
		}
		want.Matched++
		r, err := reports.Parse(message(&pods.Items[i]))
		switch {
		case err != nil:
			return fmt.Errorf("%s reported nothing yet: %w", pods.Items[i].Name, err)
		case r.Runs(app, policy.Status.RulesDigest):
			want.Attached++
		default:
			want.Outdated++
		}
	}
	switch counts := policy.Status.Pods; {
	case policy.Status.ObservedGeneration != policy.Generation:
		return fmt.Errorf("%s: the status is of generation %d of %d", app, policy.Status.ObservedGeneration, policy.Generation)
	case counts != want:
		return fmt.Errorf("%s: the status says %+v, the pods %+v", app, counts, want)
	case all && want.Attached != want.Matched:
		return fmt.Errorf("%s: %+v", app, want)
	}
	return nil
}

// message is what a pod's init container reported; empty: nothing yet.
func message(p *corev1.Pod) string {
	for _, status := range p.Status.InitContainerStatuses {
		if status.Name != v1alpha1.InitContainerName {
			continue
		}
		for _, state := range []corev1.ContainerState{status.State, status.LastTerminationState} {
			if state.Terminated != nil {
				return state.Terminated.Message
			}
		}
	}
	return ""
}

// meanwhile repeats something as long as something else goes on, and returns how often.
func meanwhile(repeated, other func()) (times int) {
	GinkgoHelper()
	over := make(chan struct{})
	concurrently(
		func() {
			defer close(over)
			other()
		},
		func() {
			for {
				repeated()
				times++
				select {
				case <-over:
					return
				case <-time.After(500 * time.Millisecond):
				}
			}
		},
	)
	return times
}
