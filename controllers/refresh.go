// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// refresh brings the rules to pods that run, where the policy asks for that: it adds
// an ephemeral container to as many pods as may be updated now. Which these are is
// read off the pods alone, and the API server refuses one for a pod that has changed
// since, so that no pod gets two, whatever the cache has not seen yet. Where the API
// server refuses, the status says so, and it is tried again after a while.
func (r *FunnelPolicyReconciler) refresh(ctx context.Context, facts *status.Facts) (again time.Duration, err error) {
	p, digest := facts.Policy, facts.ConfigMap.Digest
	if p.Spec.UpdateStrategy != v1alpha1.UpdateInPlace || digest == "" {
		return 0, nil
	}
	var atATime *intstr.IntOrString
	if p.Spec.InPlace != nil {
		atATime = p.Spec.InPlace.MaxUnavailable
	}
	for _, pod := range facts.Pods.NextRefreshes(atATime) {
		switch err := r.refreshPod(ctx, pod, p.Name, digest); {
		case err == nil:
			refreshes.Inc()
		case apierrors.IsConflict(err): // the cache is behind, and so is the list of pods
			return r.StatusAtMost, nil
		case apierrors.IsNotFound(err): // it has gone
		case passes(err):
			applyErrors.WithLabelValues("refresh").Inc()
			return 0, fmt.Errorf("refresh Pod %s: %w", pod.Name, err)
		default:
			applyErrors.WithLabelValues("refresh").Inc()
			facts.RefreshRefused = err.Error()
			return r.LookAgain, nil
		}
	}
	return 0, nil
}

// passes reports whether an error is of a server that can't answer now, and not an answer.
func passes(err error) bool {
	answer := apierrors.APIStatus(nil)
	if !errors.As(err, &answer) || apierrors.IsTooManyRequests(err) {
		return true
	}
	return answer.Status().Code >= http.StatusInternalServerError && !apierrors.IsInternalError(err) // that is a webhook's failure
}

// refreshPod adds one container. The answer has the time at which the API server did.
func (r *FunnelPolicyReconciler) refreshPod(ctx context.Context, pod *corev1.Pod, policy, digest string) error {
	container, err := inject.Refresh(pod, map[string]string{policy: digest}, inject.KeepFlows, status.RemembersFlows(pod))
	if err != nil {
		return err
	}
	patch, err := inject.RefreshPatch(pod, container)
	if err != nil {
		return err
	}
	target := &corev1.Pod{}
	target.Namespace, target.Name = pod.Namespace, pod.Name
	if err := r.SubResource(status.EphemeralContainers).Patch(ctx, target, client.RawPatch(types.StrategicMergePatchType, patch), client.FieldOwner(FieldManager)); err != nil {
		return err
	}
	if added := status.LastAdded(target); !added.IsZero() {
		r.heard.Store(&heard{there: added, here: r.Clock.Now()})
	}
	return nil
}

// heard is what the API server's clock showed when ours showed another time.
type heard struct{ there, here time.Time }

// serverNow is the time by the API server's clock, by which refreshes are dated: with one that
// is ahead of it all would have taken too long from the start, and hold up no others. Until a
// refresh was added it is ours.
func (r *FunnelPolicyReconciler) serverNow() time.Time {
	now := r.Clock.Now()
	if last := r.heard.Load(); last != nil {
		return last.there.Add(now.Sub(last.here))
	}
	return now
}
