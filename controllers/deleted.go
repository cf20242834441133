// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// reconcileDeleted lets a ConfigMap outlive its policy: a pod that mounts it must
// be able to start again when its node does. It goes when the policy has been
// gone for KeepDeleted and a live list shows no unfinished pod that mounts it.
//
// The waiting begins anew when the controller restarts, which errs on the safe
// side.
func (r *FunnelPolicyReconciler) reconcileDeleted(ctx context.Context, of types.NamespacedName, known *known) (ctrl.Result, error) {
	left, err := getConfigMap(ctx, r.Client, rulesName(of))
	if err != nil {
		return ctrl.Result{}, err
	}
	if left == nil {
		return r.releaseWaiting(ctx, of, known)
	}
	if !owned(left) {
		r.memory.forget(of)
		return ctrl.Result{}, nil
	}
	now := r.Clock.Now()
	if known.orphanedAt == 0 {
		known.orphanedAt = momentOf(now)
	}
	if rest := r.KeepDeleted - known.orphanedAt.until(now); rest > 0 {
		return ctrl.Result{RequeueAfter: rest}, nil
	}
	removed, err := r.remove(ctx, of, left)
	if err != nil || removed {
		return ctrl.Result{}, err
	}
	known.orphanedAt = momentOf(now)
	return ctrl.Result{RequeueAfter: r.KeepDeleted}, nil
}

// remove deletes the ConfigMap unless it is still needed. It decides by what the
// API server says, not by the cache, and deletes only what it saw.
func (r *FunnelPolicyReconciler) remove(ctx context.Context, of types.NamespacedName, left *corev1.ConfigMap) (removed bool, err error) {
	mounted, err := r.mounted(ctx, rulesName(of))
	if err != nil || mounted {
		return false, err
	}
	if gone, err := r.gone(ctx, of); err != nil || !gone {
		return false, err // it is back: its own event follows
	}
	err = r.Delete(ctx, left, client.Preconditions{UID: &left.UID, ResourceVersion: &left.ResourceVersion})
	return err == nil, client.IgnoreNotFound(err)
}

// releaseAfter is how long pods wait for the rules of a policy that was deleted before it
// had any: somebody may be about to make it again.
const releaseAfter = 30 * time.Second

// releaseWaiting lets pods start that wait for the first rules of a policy that is gone,
// because it was never accepted or there was no time: none of these would ever come, and
// nobody replaces pods that wait. They get an empty rule set, as pods have that are created
// now, beside the rules of other policies.
func (r *FunnelPolicyReconciler) releaseWaiting(ctx context.Context, of types.NamespacedName, known *known) (ctrl.Result, error) {
	mounted, err := r.mounted(ctx, rulesName(of))
	if err != nil {
		return ctrl.Result{}, err
	}
	if !mounted {
		r.memory.forget(of)
		return ctrl.Result{}, nil
	}
	now := r.Clock.Now()
	if known.orphanedAt == 0 {
		known.orphanedAt = momentOf(now)
	}
	if rest := releaseAfter - known.orphanedAt.until(now); rest > 0 {
		return ctrl.Result{RequeueAfter: rest}, nil
	}
	if gone, err := r.gone(ctx, of); err != nil || !gone {
		return ctrl.Result{}, err
	}
	p := &v1alpha1.FunnelPolicy{}
	p.Namespace, p.Name = of.Namespace, of.Name
	nothing, _ := empty(p)
	err = r.apply(ctx, p, rulesName(of).Name, nil, nothing, &known.configMap)
	if apierrors.IsConflict(err) { // pods that mount somebody else's do not wait
		r.memory.forget(of)
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: r.KeepDeleted}, err
}

// gone reports whether the API server knows no policy of that name.
func (r *FunnelPolicyReconciler) gone(ctx context.Context, of types.NamespacedName) (bool, error) {
	err := r.Live.Get(ctx, of, &v1alpha1.FunnelPolicy{})
	return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
}

// mounted reports whether an unfinished pod mounts the ConfigMap, injected or
// not: manifests may name it too.
func (r *FunnelPolicyReconciler) mounted(ctx context.Context, c types.NamespacedName) (found bool, err error) {
	err = r.eachPod(ctx, c.Namespace, labels.Everything(), func(pod *corev1.Pod) bool {
		found = slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return brings(v, c.Name) })
		return !found
	})
	if err != nil {
		return false, fmt.Errorf("list pods that may mount ConfigMap %s: %w", c.Name, err)
	}
	return found, nil
}

// brings reports whether the volume holds files of the ConfigMap.
func brings(v corev1.Volume, configMap string) bool {
	if v.ConfigMap != nil && v.ConfigMap.Name == configMap {
		return true
	}
	return v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
		return s.ConfigMap != nil && s.ConfigMap.Name == configMap
	})
}
