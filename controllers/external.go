// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// publishExternal makes the ConfigMap for clients outside the cluster hold a
// backend's rules for them, and removes it when the policy is a backend's no more.
// No pod mounts it, so that it goes with its policy, which owns it. A foreign one
// is left alone, and facts get a warning. They get one of a failed write, too, which
// refused is, as publish has it.
func (r *FunnelPolicyReconciler) publishExternal(ctx context.Context, facts *status.Facts, known *known) (refused, err error) {
	p, data := facts.Policy, facts.Program.External
	name := types.NamespacedName{Namespace: p.Namespace, Name: v1alpha1.ExternalName(p.Name)}
	if p.Spec.Backend == nil {
		return r.removeExternal(ctx, facts, name, known)
	}
	if data == nil || len(facts.Faults)+len(facts.Conflicts) > 0 {
		return nil, nil // the last good ones stay
	}
	want := content{data: data, owned: true}
	have, err := r.configMap(ctx, name, &known.external)
	switch {
	case err != nil:
		return nil, err
	case have != nil && !owned(have):
		facts.Program = warned(facts.Program, policy.Warning{Reason: v1alpha1.ReasonConfigMapNotOwned, Message: fmt.Sprintf(
			"ConfigMap %s, for the rules of clients outside the cluster, belongs to somebody else and is left as it is: it lacks the label %s=%s", name.Name, v1alpha1.LabelPolicy, p.Name)})
		return nil, nil
	}
	refused = r.write(ctx, p, name.Name, have, want, &known.external)
	switch {
	case refused == nil:
		return nil, nil
	case known.external.hidden:
		return r.publishExternal(ctx, facts, known) // which looks live
	}
	notDone(facts, "writing", name, refused)
	return refused, nil
}

// notDone adds a warning of a write that failed.
func notDone(facts *status.Facts, what string, name types.NamespacedName, err error) {
	facts.Program = warned(facts.Program, policy.Warning{Reason: v1alpha1.ReasonApplyFailed, Message: fmt.Sprintf(
		"%s ConfigMap %s, for the rules of clients outside the cluster, failed: %v", what, name.Name, err)})
}

// warned is the program with one more warning.
func warned(program *policy.Program, w policy.Warning) *policy.Program {
	with := *program
	with.Warnings = append(append([]policy.Warning{}, program.Warnings...), w)
	return &with
}

// removeExternal deletes the ConfigMap of a policy that is a backend's no more.
func (r *FunnelPolicyReconciler) removeExternal(ctx context.Context, facts *status.Facts, name types.NamespacedName, known *known) (refused, err error) {
	have, err := r.configMap(ctx, name, &known.external)
	if err != nil || have == nil || !owned(have) {
		return nil, err
	}
	err = r.Delete(ctx, have, client.Preconditions{UID: &have.UID, ResourceVersion: &have.ResourceVersion})
	if refused = countFailure("configmap", client.IgnoreNotFound(err)); refused != nil {
		notDone(facts, "removing", name, refused)
	}
	return refused, nil
}

// ownedBy makes the API server remove the object with the policy.
func ownedBy(p *v1alpha1.FunnelPolicy) *applymetav1.OwnerReferenceApplyConfiguration {
	return applymetav1.OwnerReference().
		WithAPIVersion(v1alpha1.GroupVersion.String()).WithKind("FunnelPolicy").
		WithName(p.Name).WithUID(p.UID).WithController(true)
}
