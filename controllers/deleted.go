// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// reconcileDeleted lets a ConfigMap outlive its policy: a pod that mounts it must
// be able to start again when its node does. It goes when the policy has been
// gone for KeepDeleted and neither the cache nor a live list, which those of a namespace
// share, shows an unfinished pod that mounts it.
//
// The waiting begins anew when the controller restarts, which errs on the safe
// side.
func (r *FunnelPolicyReconciler) reconcileDeleted(ctx context.Context, of types.NamespacedName, known *known) (ctrl.Result, error) {
	left, err := r.configMap(ctx, rulesName(of), &known.configMap)
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
		return ctrl.Result{RequeueAfter: spread(rest)}, nil
	}
	removed, err := r.remove(ctx, of, left)
	if err != nil || removed {
		return ctrl.Result{}, err
	}
	known.orphanedAt = momentOf(now)
	return ctrl.Result{RequeueAfter: spread(r.KeepDeleted)}, nil
}

// spread is that time, or a bit more: policies that are deleted together are not all looked
// after in the same second.
func spread(d time.Duration) time.Duration { return wait.Jitter(d, 0.1) }

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
	return ctrl.Result{RequeueAfter: spread(r.KeepDeleted)}, err
}

// gone reports whether the API server knows no policy of that name.
func (r *FunnelPolicyReconciler) gone(ctx context.Context, of types.NamespacedName) (bool, error) {
	err := r.Live.Get(ctx, of, &v1alpha1.FunnelPolicy{})
	return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
}

// mounted reports whether an unfinished pod mounts the ConfigMap. Injected pods tell that
// from the cache. Manifests may name it, too: only where no injected pod does, all pods are
// looked at live.
func (r *FunnelPolicyReconciler) mounted(ctx context.Context, c types.NamespacedName) (bool, error) {
	found, err := r.pods.mounting(c)
	if err != nil || found {
		return found, err
	}
	l := r.memory.look(c.Namespace)
	l.Lock()
	defer l.Unlock()
	if now := r.Clock.Now(); l.at == 0 || l.at.until(now) > r.KeepDeleted/10 {
		if l.mounted, err = r.look(ctx, c.Namespace); err != nil {
			return false, fmt.Errorf("list pods that may mount ConfigMaps of policies: %w", err)
		}
		l.at = momentOf(now)
	}
	return l.mounted[fingerprintOf(c.Name)], nil
}

// look is one live look at the pods of a namespace, for all of its policies that are gone. It
// is good for a tenth of the time that their ConfigMaps are kept.
type look struct {
	sync.Mutex
	at      moment
	mounted map[fingerprint]bool // by the ConfigMap's name
}

// look lists what unfinished pods mount of ConfigMaps that may be policies'.
func (r *FunnelPolicyReconciler) look(ctx context.Context, namespace string) (map[fingerprint]bool, error) {
	found := map[fingerprint]bool{}
	err := r.eachPod(ctx, namespace, labels.Everything(), func(pod *corev1.Pod) bool {
		for name := range configMaps(pod) {
			if strings.HasSuffix(name, v1alpha1.ConfigMapSuffix) {
				found[fingerprintOf(name)] = true
			}
		}
		return true
	})
	return found, err
}

// mounting reports whether an unfinished one mounts the ConfigMap.
func (p pods) mounting(c types.NamespacedName) (bool, error) {
	candidates, err := p.in(c.Namespace, func(o *packed) bool {
		return strings.Contains(o.Text, c.Name) // before it is unpacked
	})
	if err != nil {
		return false, fmt.Errorf("list injected pods: %w", err)
	}
	for _, o := range candidates {
		pod, err := unpackPod(o)
		if err != nil {
			return false, err
		}
		for name := range configMaps(pod) {
			if name == c.Name && !status.Finished(pod) {
				return true, nil
			}
		}
	}
	return false, nil
}

// configMaps are the names of those whose files the pod's volumes hold.
func configMaps(pod *corev1.Pod) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, v := range pod.Spec.Volumes {
			if v.ConfigMap != nil && !yield(v.ConfigMap.Name) {
				return
			}
			if v.Projected == nil {
				continue
			}
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil && !yield(s.ConfigMap.Name) {
					return
				}
			}
		}
	}
}
