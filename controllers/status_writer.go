// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// writeStatus writes the status when its meaning changed, and tells people what
// happened. When the last write was a moment ago, or the cache does not show it
// yet, it returns how long to wait; but not for another text of why a write was refused, which
// whoever tries that again tells in time: the text may differ each time.
func (r *FunnelPolicyReconciler) writeStatus(ctx context.Context, known *known, facts status.Facts, refused bool) (again time.Duration, err error) {
	if known.status.stale(facts.Policy.ResourceVersion) {
		return r.StatusAtMost, nil
	}
	before, after := facts.Policy.Status, status.Of(facts)
	known.seeAttached(before)
	if equality.Semantic.DeepEqual(before, after) {
		known.podsChangedAt = 0
		return 0, nil
	}
	if rest := r.statusRest(known, before, after); rest > 0 {
		if refused && equality.Semantic.DeepEqual(unworded(before), unworded(after)) {
			return 0, nil
		}
		return rest, nil
	}
	version, err := r.updateStatus(ctx, facts.Policy, after)
	switch {
	case apierrors.IsConflict(err): // the policy changed meanwhile, or the cache is behind
		return r.StatusAtMost, nil
	case err != nil:
		return 0, client.IgnoreNotFound(countFailure("status", err))
	}
	known.podsChangedAt = 0
	known.status = written{from: fingerprintOf(facts.Policy.ResourceVersion), to: fingerprintOf(version)}
	known.statusAt = momentOf(r.Clock.Now())
	r.announce(facts.Policy, before, status.Events(facts.Policy.Spec.UpdateStrategy, before, after, known.attached == fingerprintOf(after.RulesDigest)))
	known.seeAttached(after)
	return 0, nil
}

// unworded is the status without the messages that tell why a write was refused.
func unworded(s v1alpha1.FunnelPolicyStatus) v1alpha1.FunnelPolicyStatus {
	s.Conditions = slices.Clone(s.Conditions)
	for i := range s.Conditions {
		switch s.Conditions[i].Type {
		case v1alpha1.ConditionProgrammed, v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionWarnings:
			s.Conditions[i].Message = ""
		}
	}
	return s
}

// seeAttached notes with which rules all pods have been.
func (k *known) seeAttached(s v1alpha1.FunnelPolicyStatus) {
	if meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionAttached) {
		k.attached = fingerprintOf(s.RulesDigest)
	}
}

// statusRest is how long the status must wait: since the last one was written, and,
// where neither spec nor rules changed, for more of the same. A pod that is replaced
// changes it several times within a second.
func (r *FunnelPolicyReconciler) statusRest(known *known, before, after v1alpha1.FunnelPolicyStatus) time.Duration {
	now := r.Clock.Now()
	rest := time.Duration(0)
	if known.statusAt != 0 {
		rest = r.StatusAtMost - known.statusAt.until(now)
	}
	if before.ObservedGeneration != after.ObservedGeneration || before.RulesDigest != after.RulesDigest {
		return rest
	}
	if known.podsChangedAt == 0 {
		known.podsChangedAt = momentOf(now)
	}
	return max(rest, r.StatusAtMost-known.podsChangedAt.until(now))
}

// updateStatus writes the whole status, and returns the policy's new version. The server
// refuses it when the policy is no longer the one that was read. (An apply would cost an API
// server half as much again, thousands of times at a start.)
func (r *FunnelPolicyReconciler) updateStatus(ctx context.Context, p *v1alpha1.FunnelPolicy, want v1alpha1.FunnelPolicyStatus) (version string, err error) {
	after := p.DeepCopy()
	after.Status = want
	err = r.Status().Update(ctx, after, client.FieldOwner(FieldManager))
	return after.ResourceVersion, err
}

// announce makes Events of what happened. Of policies that a starting controller finds
// without a status, as after an install or a restore, it tells what is wrong alone: the
// status has the rest, and there may be thousands. The action of each is the condition
// that turned, which tells two of one reason apart.
func (r *FunnelPolicyReconciler) announce(policy *v1alpha1.FunnelPolicy, before v1alpha1.FunnelPolicyStatus, happened []status.Event) {
	quiet := before.ObservedGeneration <= 0 && r.foundAtStart(policy)
	for _, e := range happened {
		if quiet && e.Type == corev1.EventTypeNormal {
			continue
		}
		r.Events.Eventf(policy, nil, e.Type, e.Reason, e.Condition, "%s", e.Note)
	}
}
