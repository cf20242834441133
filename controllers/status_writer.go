// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// writeStatus writes the status when its meaning changed, and tells people what
// happened. When the last write was a moment ago it returns how long to wait.
func (r *FunnelPolicyReconciler) writeStatus(ctx context.Context, known *known, facts status.Facts) (again time.Duration, err error) {
	cached := facts.Policy.ResourceVersion
	before := known.latest(facts.Policy)
	facts.Policy = before
	after := before.DeepCopy()
	after.Status = status.Of(facts)
	if equality.Semantic.DeepEqual(before.Status, after.Status) {
		return 0, nil
	}
	if rest := r.StatusAtMost - r.Clock.Since(known.statusAt); rest > 0 && !known.statusAt.IsZero() {
		return rest, nil
	}
	want := after.Status
	switch err := r.patchStatus(ctx, before, after); {
	case apierrors.IsConflict(err): // the policy changed meanwhile, or the cache is behind
		return r.StatusAtMost, nil
	case err != nil:
		applyErrors.WithLabelValues("status").Inc()
		return 0, client.IgnoreNotFound(err)
	}
	known.status = written{from: cached, to: after.ResourceVersion}
	known.lastStatus, known.statusAt = after.Status, r.Clock.Now()
	r.announce(after, status.Events(before.Status, want))
	return 0, nil
}

// latest returns a copy of the policy with the status that was written last, in
// case the cache is behind.
func (k *known) latest(cached *v1alpha1.FunnelPolicy) *v1alpha1.FunnelPolicy {
	policy := cached.DeepCopy()
	if k.status.stale(policy.ResourceVersion) {
		policy.Status = *k.lastStatus.DeepCopy()
		policy.ResourceVersion = k.status.to
	}
	return policy
}

// patchStatus sends the difference. The server refuses it when the policy is no
// longer the one that was read.
func (r *FunnelPolicyReconciler) patchStatus(ctx context.Context, before, after *v1alpha1.FunnelPolicy) error {
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	return r.Status().Patch(ctx, after, patch, client.FieldOwner(FieldManager))
}

// announce makes Events of what happened.
func (r *FunnelPolicyReconciler) announce(policy *v1alpha1.FunnelPolicy, events []status.Event) {
	for _, e := range events {
		r.Events.Eventf(policy, nil, e.Type, e.Reason, "Reconcile", "%s", e.Note)
	}
}
