// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/report"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// mustConverge makes good what the load left undone, and waits until every policy is as it
// should be; then replaces pods with other rules, and waits until every one runs the
// current ones.
func (w *world) mustConverge(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	begin := time.Now()
	for _, check := range []func(context.Context) error{w.restore, w.published, w.accounted, w.tidied} {
		if err := w.insist(ctx, "converge", func() error { return check(ctx) }); err != nil {
			t.Fatalf("%v\n%s", err, w.manager.Log())
		}
	}
	t.Logf("everything was as it should be after %s", time.Since(begin).Round(100*time.Millisecond))
}

// restore makes policies that the load was just about to make again.
func (w *world) restore(ctx context.Context) error {
	for _, p := range w.places {
		if err := w.Create(ctx, p.policy()); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		if p.rules != "" {
			if err := client.IgnoreNotFound(w.Delete(ctx, p.rival())); err != nil {
				return err
			}
		}
	}
	return nil
}

// published says what keeps a policy's ConfigMap from holding what its spec says now.
func (w *world) published(ctx context.Context) error {
	var faults []error
	for _, p := range w.places {
		faults = append(faults, w.publishedAt(ctx, p))
	}
	return errors.Join(append(faults, w.kubelet(ctx))...)
}

func (w *world) publishedAt(ctx context.Context, p *place) error {
	var policy v1alpha1.FunnelPolicy
	var held corev1.ConfigMap
	if err := errors.Join(w.Get(ctx, p.key(), &policy), w.Get(ctx, p.configMap(), &held)); err != nil {
		return err
	}
	settings := held.Data[v1alpha1.FileSettings]
	switch {
	case policy.Status.ObservedGeneration != policy.Generation:
		return fmt.Errorf("%s: the status is of another generation", p.key())
	case policy.Status.RulesDigest == "" || !strings.Contains(settings, policy.Status.RulesDigest):
		return fmt.Errorf("%s: the status says %s, the ConfigMap %s", p.key(), policy.Status.RulesDigest, settings)
	case !meta.IsStatusConditionTrue(policy.Status.Conditions, v1alpha1.ConditionProgrammed):
		return fmt.Errorf("%s: %+v", p.key(), policy.Status.Conditions)
	}
	return holds(&policy, &held)
}

// holds compares the ConfigMap with the spec.
func holds(policy *v1alpha1.FunnelPolicy, held *corev1.ConfigMap) error {
	ingress, egress := held.Data[v1alpha1.FileIngress], held.Data[v1alpha1.FileEgress]
	switch {
	case policy.Spec.Backend != nil && !strings.Contains(ingress, "dport 4739"),
		policy.Spec.Client != nil && !strings.Contains(egress, "funnel tcp dport 179"):
		return fmt.Errorf("%s holds\n%s%s", held.Name, ingress, egress)
	case policy.Spec.Rules.Text != nil:
		want, err := rules.Parse(policy.Spec.Rules.Text.Ingress)
		if err != nil {
			return err
		}
		if ingress != want.String() {
			return fmt.Errorf("%s holds %q, want %q", held.Name, ingress, want)
		}
	}
	return nil
}

// renewPods replaces each pod that does not run the current rules of its policy alone: it
// started before, waits for a policy that is gone, or mounts such a one's rules, which stay
// as long as it does.
func (w *world) renewPods(ctx context.Context) error {
	for _, p := range w.places {
		pods, err := w.podsOf(ctx, p)
		if err != nil {
			return err
		}
		var policy v1alpha1.FunnelPolicy
		if err := w.Get(ctx, p.key(), &policy); err != nil {
			return err
		}
		for i := range pods {
			if runs(&pods[i], &policy) {
				continue
			}
			if err := w.Delete(ctx, &pods[i], client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
				return err
			}
			if err := w.newPod(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// runs reports whether the pod mounts this policy's rules, no other's, and reported that it
// runs what they are now.
func runs(pod *corev1.Pod, policy *v1alpha1.FunnelPolicy) bool {
	if !slices.Equal(mounted(pod), []string{v1alpha1.ConfigMapName(policy.Name)}) {
		return false
	}
	if len(pod.Status.InitContainerStatuses) == 0 || pod.Status.InitContainerStatuses[0].State.Terminated == nil {
		return false
	}
	r, err := report.Parse(pod.Status.InitContainerStatuses[0].State.Terminated.Message)
	return err == nil && r.Runs(policy.Name, policy.Status.RulesDigest)
}

// accounted says what keeps a status from counting all pods as attached, and no other.
func (w *world) accounted(ctx context.Context) error {
	if err := w.published(ctx); err != nil {
		return err
	}
	if err := w.renewPods(ctx); err != nil {
		return err
	}
	var faults []error
	for _, p := range w.places {
		var policy v1alpha1.FunnelPolicy
		pods, err := w.podsOf(ctx, p)
		if err := errors.Join(err, w.Get(ctx, p.key(), &policy)); err != nil {
			return err
		}
		n := int32(len(pods))
		if counts := policy.Status.Pods; counts != (v1alpha1.PodCounts{Matched: n, Attached: n}) {
			faults = append(faults, fmt.Errorf("%s: %d pods, %+v", p.key(), n, counts))
		}
		for i := range pods {
			if pods[i].Labels[v1alpha1.LabelInjected] != v1alpha1.InjectedTrue {
				faults = append(faults, fmt.Errorf("pod %s was missed", pods[i].Name))
			}
		}
	}
	return errors.Join(faults...)
}

// tidied says which ConfigMaps are left of policies that are gone.
func (w *world) tidied(ctx context.Context) error {
	var list corev1.ConfigMapList
	if err := w.List(ctx, &list, client.HasLabels{v1alpha1.LabelPolicy}); err != nil {
		return err
	}
	for i := range list.Items {
		of := client.ObjectKey{Namespace: list.Items[i].Namespace, Name: list.Items[i].Labels[v1alpha1.LabelPolicy]}
		if err := w.Get(ctx, of, &v1alpha1.FunnelPolicy{}); err != nil {
			return fmt.Errorf("ConfigMap %s is left: %w", list.Items[i].Name, err)
		}
	}
	return nil
}
