// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
)

// compiled is what a policy compiles to.
type compiled struct {
	// of is equal for equal input.
	of      string
	program *policy.Program
	faults  field.ErrorList
}

// manyRules is from how many rules on a program is kept: compiling 4,096 takes a
// few 100 ms, and pods come and go many times without new rules. Keeping the
// small ones would cost more memory than time.
const manyRules = 64

// compile compiles the policy with the Services that it names, which it returns
// too.
func (r *FunnelPolicyReconciler) compile(ctx context.Context, p *v1alpha1.FunnelPolicy) (compiled, map[types.NamespacedName]*corev1.Service, error) {
	named, err := r.namedServices(ctx, p)
	if err != nil {
		return compiled{}, nil, err
	}
	name, of := client.ObjectKeyFromObject(p), input(p, named)
	if last := r.memory.compiled(name); last.of == of {
		return last, named, nil
	}
	c := compiled{of: of}
	c.program, c.faults = policy.Compile(p, named)
	if len(c.program.Ingress)+len(c.program.Egress) >= manyRules || len(c.faults) > 0 {
		r.memory.keep(name, c)
	}
	return c, named, nil
}

// input identifies what is compiled.
func input(p *v1alpha1.FunnelPolicy, named map[types.NamespacedName]*corev1.Service) string {
	var of strings.Builder
	fmt.Fprint(&of, p.UID, "/", p.Generation)
	for _, name := range policy.References(p) {
		if s := named[name]; s != nil {
			fmt.Fprint(&of, " ", s.UID, "/", s.ResourceVersion)
		}
	}
	return of.String()
}

// namedServices returns those Services that the policy names and that exist.
func (r *FunnelPolicyReconciler) namedServices(ctx context.Context, p *v1alpha1.FunnelPolicy) (map[types.NamespacedName]*corev1.Service, error) {
	found := map[types.NamespacedName]*corev1.Service{}
	for _, name := range policy.References(p) {
		s := &corev1.Service{}
		switch err := r.Get(ctx, name, s); {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, fmt.Errorf("get Service %s: %w", name, err)
		default:
			found[name] = s
		}
	}
	return found, nil
}
