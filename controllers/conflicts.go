// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
)

// verdict is which older policies one yields to.
type verdict struct {
	// of is equal for equal policies.
	of    uint64
	found []policy.Conflict
}

// conflicts returns the older policy that p yields to, if any.
func (r *FunnelPolicyReconciler) conflicts(ctx context.Context, p *v1alpha1.FunnelPolicy, c compiled, last *verdict) ([]policy.Conflict, error) {
	others, err := r.policies.reachable(p)
	if err != nil {
		return nil, fmt.Errorf("list FunnelPolicies: %w", err)
	}
	beside, of := []policy.Compiled{{Policy: p, Program: c.program}}, []string{c.of}
	for _, q := range others {
		c, err := r.inForce(ctx, q)
		if err != nil {
			return nil, err
		}
		beside, of = append(beside, policy.Compiled{Policy: q, Program: c.program}), append(of, c.of)
	}
	slices.Sort(of[1:])
	if now := hashOf(strings.Join(of, "; ")); now != last.of {
		*last = verdict{of: now}
		if conflict, yields := policy.Conflicts(beside)[p.Name]; yields {
			last.found = []policy.Conflict{conflict}
		}
	}
	return last.found, nil
}

// inForce is what pods get of a policy: what its spec compiles to, or else its
// last good rules. A client that may have none any more has none, whether its ConfigMap is
// written already or not.
func (r *FunnelPolicyReconciler) inForce(ctx context.Context, q *v1alpha1.FunnelPolicy) (compiled, error) {
	c, _, err := r.compile(ctx, q)
	if err != nil || c.program.Data != nil || c.program.Revoked && len(c.faults) == 0 {
		return c, err
	}
	have, err := r.configMaps.get(rulesName(client.ObjectKeyFromObject(q)))
	if err == nil {
		have, err = r.whole(ctx, have)
	}
	if err != nil || have == nil || !owned(have) {
		return c, err
	}
	last := held(have)
	return compiled{
		of:      fmt.Sprint(c.of, " ", have.UID, "/", have.ResourceVersion),
		program: &policy.Program{Ingress: last.Ingress, Egress: last.Egress, Data: have.Data},
	}, nil
}
