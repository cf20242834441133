// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// gather reads what concerns the policy, all from the cache, and compiles it.
// ConfigMap, Pods, Coverage, and Services that no rule names are left to be filled in.
func (r *FunnelPolicyReconciler) gather(ctx context.Context, p *v1alpha1.FunnelPolicy, known *known) (status.Facts, error) {
	facts := status.Facts{Policy: p}
	c, in, err := r.compile(ctx, p)
	if err != nil {
		return facts, err
	}
	// Also while the rules are held back: nothing else asks again when they are released.
	if facts.Conflicts, err = r.conflicts(ctx, p, c, &known.conflicts); err != nil {
		return facts, err
	}
	if c, err = r.gate(ctx, p, c, in, known); err != nil {
		return facts, err
	}
	facts.Program, facts.Faults = c.program, c.faults
	facts.Services = slices.Collect(maps.Values(in.Services))
	if facts.SocketLoadBalancing, err = r.socketLoadBalancing(ctx, p); err != nil {
		return facts, err
	}
	facts.Namespace, err = r.namespace(ctx, p.Namespace)
	return facts, err
}

// namespace reads what decides about injection.
func (r *FunnelPolicyReconciler) namespace(ctx context.Context, name string) (status.Namespace, error) {
	labels, err := r.namespaceLabels(ctx, name)
	if err != nil {
		return status.Namespace{}, err
	}
	injector, err := r.injector(ctx)
	if injector != status.Manifests && (name == metav1.NamespaceSystem || name == r.Namespace) {
		injector = status.LeftOut
	}
	return status.Namespace{Name: name, Injector: injector, Injection: labels[v1alpha1.LabelInjection], Enforce: labels[status.LabelEnforce]}, err
}

// ends reports whether the namespace is being deleted, or gone from the cache before what is in
// it: nothing can be made there, and nothing needs to be. One that is not in the cache yet is
// an event when it is.
func (r *FunnelPolicyReconciler) ends(ctx context.Context, namespace string) (bool, error) {
	n, err := r.getNamespace(ctx, namespace)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return err == nil && n.DeletionTimestamp != nil, err
}

// ending reports whether a write was refused because its namespace ends, which the cache may
// not know yet.
func ending(err error) bool { return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) }

// injector is who injects new pods now.
func (r *FunnelPolicyReconciler) injector(ctx context.Context) (status.Injector, error) {
	if r.WebhookConfiguration == "" {
		return r.Injector, nil
	}
	err := r.Get(ctx, types.NamespacedName{Name: r.WebhookConfiguration}, &admissionregistrationv1.MutatingWebhookConfiguration{})
	if apierrors.IsNotFound(err) {
		return status.Nobody, nil
	}
	return r.Injector, err
}

func (r *FunnelPolicyReconciler) namespaceLabels(ctx context.Context, name string) (map[string]string, error) {
	n, err := r.getNamespace(ctx, name)
	if err != nil {
		return nil, err
	}
	return n.Labels, nil
}

func (r *FunnelPolicyReconciler) getNamespace(ctx context.Context, name string) (*metav1.PartialObjectMetadata, error) {
	n := &metav1.PartialObjectMetadata{}
	n.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := r.Get(ctx, types.NamespacedName{Name: name}, n); err != nil {
		return nil, fmt.Errorf("get Namespace %s: %w", name, err)
	}
	return n, nil
}
