// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// sweepFrom is how many policies of a namespace are worth a list of all its pods
// that were not injected, instead of one for each policy.
const sweepFrom = 4

// sweep is one look at the pods of a namespace that were not injected, for all
// policies that a starting controller finds in it. Later each lists its own.
type sweep struct {
	sync.Mutex
	done bool
	at   time.Time
	// found is by revision; it is taken out once. There is nil for a policy without such pods,
	// as most are: thousands wait here for their first reconcile.
	found map[string]*status.Census
}

// revision tells one policy, and its selector, from another.
func revision(p *v1alpha1.FunnelPolicy) string { return fmt.Sprint(p.UID, "/", p.Generation) }

// swept returns what the sweep of the namespace found for the policy, and when it
// was: nil when it did not look for it.
func (r *FunnelPolicyReconciler) swept(ctx context.Context, p *v1alpha1.FunnelPolicy) (*status.Census, time.Time, error) {
	if !r.foundAtStart(p) {
		return nil, time.Time{}, nil
	}
	s := r.memory.sweep(p.Namespace)
	s.Lock()
	defer s.Unlock()
	if !s.done {
		if err := r.sweep(ctx, p.Namespace, s); err != nil {
			return nil, time.Time{}, err
		}
	}
	others, ok := s.found[revision(p)]
	delete(s.found, revision(p))
	if len(s.found) == 0 {
		s.found = nil // an emptied map keeps its room
	}
	if ok && others == nil {
		others = status.NewCensus(p.Name, "", 0)
	}
	return others, s.at, nil
}

// foundAtStart reports whether the policy is older than this controller's work. The API
// server tells seconds.
func (r *FunnelPolicyReconciler) foundAtStart(p *v1alpha1.FunnelPolicy) bool {
	return p.CreationTimestamp.Time.Before(r.started.Load().Truncate(time.Second))
}

// sweep fills in s.
func (r *FunnelPolicyReconciler) sweep(ctx context.Context, namespace string, s *sweep) error {
	policies, err := r.policies.in(namespace, r.foundAtStart)
	if err != nil || len(policies) < sweepFrom {
		s.done = err == nil
		return err
	}
	at, found := r.Clock.Now(), map[string]*status.Census{}
	for _, p := range policies {
		found[revision(p)] = nil
	}
	var failed error
	err = r.eachPod(ctx, namespace, notInjected(labels.Everything()), func(pod *corev1.Pod) bool {
		var candidates []*v1alpha1.FunnelPolicy
		candidates, failed = r.policies.maySelect(namespace, pod.Labels)
		for _, p := range candidates {
			others, ok := found[revision(p)]
			if selected, err := chosen(&p.Spec.PodSelector, pod.Labels); !ok || err != nil || !selected {
				continue
			}
			if others == nil {
				others = status.NewCensus(p.Name, "", 0)
				found[revision(p)] = others
			}
			others.Add(pod)
		}
		return failed == nil
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("list the namespace's pods that were not injected: %w", err)
	}
	s.done, s.at, s.found = true, at, found
	return nil
}
