// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// gather reads what concerns the policy, all from the cache, and compiles it.
// ConfigMap, Pods and Coverage are left to be filled in.
func (r *FunnelPolicyReconciler) gather(ctx context.Context, p *v1alpha1.FunnelPolicy, known *known) (status.Facts, error) {
	facts := status.Facts{Policy: p}
	c, in, err := r.compile(ctx, p)
	if err != nil {
		return facts, err
	}
	if c, err = r.gate(ctx, p, c, in, known); err != nil {
		return facts, err
	}
	facts.Program, facts.Faults = c.program, c.faults
	if facts.Conflicts, err = r.conflicts(ctx, p, c, &known.conflicts); err != nil {
		return facts, err
	}
	if facts.Services, err = r.services(ctx, p.Namespace, in.Services); err != nil {
		return facts, err
	}
	if facts.SocketLoadBalancing, err = r.socketLoadBalancing(ctx, p); err != nil {
		return facts, err
	}
	facts.Namespace, err = r.namespace(ctx, p.Namespace)
	return facts, err
}

// services returns the Services of the namespace and the named ones elsewhere.
func (r *FunnelPolicyReconciler) services(ctx context.Context, namespace string, named map[types.NamespacedName]*corev1.Service) ([]*corev1.Service, error) {
	var list corev1.ServiceList
	if err := r.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Services: %w", err)
	}
	var all []*corev1.Service
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	for name, s := range named {
		if name.Namespace != namespace {
			all = append(all, s)
		}
	}
	return all, nil
}

// namespace reads the labels that decide about injection.
func (r *FunnelPolicyReconciler) namespace(ctx context.Context, name string) (status.Namespace, error) {
	labels, err := r.namespaceLabels(ctx, name)
	return status.Namespace{Name: name, Injection: labels[v1alpha1.LabelInjection], Enforce: labels[status.LabelEnforce]}, err
}

func (r *FunnelPolicyReconciler) namespaceLabels(ctx context.Context, name string) (map[string]string, error) {
	n := &metav1.PartialObjectMetadata{}
	n.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := r.Get(ctx, types.NamespacedName{Name: name}, n); err != nil {
		return nil, fmt.Errorf("get Namespace %s: %w", name, err)
	}
	return n.Labels, nil
}
