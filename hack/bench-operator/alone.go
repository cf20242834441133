// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/controllers"
)

// workers is how many policies a manager reconciles at a time.
const workers = 16

// writesAlone makes the writes of a cold start once more, without a manager: each policy's
// ConfigMaps are applied and its status is updated, as many at a time as a manager has
// workers, by a client that knows beforehand what to write. No manager on this machine can
// start faster than that.
func (l *lab) writesAlone(ctx context.Context, r *result) error {
	if err := l.manager.Stop(); err != nil {
		return err
	}
	policies, rules, err := l.published(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for i := range policies {
		p := &policies[i]
		own := rules[client.ObjectKeyFromObject(p)]
		r.Alone.Writes += len(own) + 1
		group.Go(func() error { return l.writeAgain(ctx, p, own) })
	}
	err = group.Wait()
	r.Alone.Seconds = time.Since(begin).Seconds()
	return err
}

// published are all policies, and their ConfigMaps by policy.
func (l *lab) published(ctx context.Context) ([]v1alpha1.FunnelPolicy, map[types.NamespacedName][]corev1.ConfigMap, error) {
	var policies v1alpha1.FunnelPolicyList
	if err := l.List(ctx, &policies); err != nil {
		return nil, nil, err
	}
	var all corev1.ConfigMapList
	if err := l.List(ctx, &all, client.HasLabels{v1alpha1.LabelPolicy}); err != nil {
		return nil, nil, err
	}
	rules := map[types.NamespacedName][]corev1.ConfigMap{}
	for _, c := range all.Items {
		of := types.NamespacedName{Namespace: c.Namespace, Name: c.Labels[v1alpha1.LabelPolicy]}
		rules[of] = append(rules[of], c)
	}
	return policies.Items, rules, nil
}

// writeAgain changes a little of everything, so that all of it is written.
func (l *lab) writeAgain(ctx context.Context, p *v1alpha1.FunnelPolicy, rules []corev1.ConfigMap) error {
	for _, c := range rules {
		again := applycorev1.ConfigMap(c.Name, c.Namespace).WithLabels(c.Labels).WithData(c.Data).
			WithAnnotations(map[string]string{"again": "yes"})
		if err := l.Apply(ctx, again, client.FieldOwner(controllers.FieldManager), client.ForceOwnership); err != nil {
			return err
		}
	}
	if len(p.Status.Conditions) == 0 {
		return fmt.Errorf("FunnelPolicy %s has no conditions", client.ObjectKeyFromObject(p))
	}
	p.Status.Conditions[0].Message += " Again."
	return l.Status().Update(ctx, p)
}
