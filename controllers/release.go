// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// gate holds a client's rules back until every ready endpoint of the Service runs
// the current rules of the backend policy. What was released stays: rules for
// which that was so once, and what of them follows addresses of the same Service only.
//
// Pods that are updated in place funnel within a second, and the nodes' proxies may
// still lead them to endpoints that have just gone: there, that must have lasted for
// a while, and endpoints that end must have ended unless they run the rules, too.
func (r *FunnelPolicyReconciler) gate(ctx context.Context, p *v1alpha1.FunnelPolicy, c compiled, in policy.Cluster, known *known) (compiled, error) {
	if p.Spec.Client == nil || c.program.Data == nil {
		return c, nil
	}
	have, err := r.configMaps.get(rulesName(client.ObjectKeyFromObject(p)))
	if err != nil {
		return c, err
	}
	theirs, _, err := r.compile(ctx, in.Backend)
	if err != nil {
		return c, err
	}
	gated := *c.program
	c.program = &gated
	gated.ReleasedFor = release(c.program.Backend, theirs.program.Digest, in.Services[gated.Front])
	if in.Released {
		if stays, err := r.staysReleased(ctx, have, &gated); err != nil || stays {
			return c, err
		}
	}
	coverage, err := r.coverage(in.Backend, theirs.program.Digest)
	if err != nil {
		return c, err
	}
	if coverage.Complete() && p.Spec.UpdateStrategy != v1alpha1.UpdateInPlace {
		return c, nil
	}
	known.covered.see(coverage.Complete(), theirs.program.Digest, r.Clock.Now())
	lacks := coverage.Lacks
	if coverage.Complete() {
		if r.settling(known) == 0 && !coverage.Leaving() {
			return c, nil
		}
		lacks = coverage.JustComplete
	}
	gated.Data, gated.Unresolved = nil, []policy.Unresolved{{
		Reason:  v1alpha1.ReasonBackendNotAttached,
		Message: fmt.Sprintf("FunnelPolicy %s: %s", gated.Backend, lacks()),
	}}
	return c, nil
}

// covered is since when every ready endpoint of a client's backend runs its rules of
// that digest; zero while some don't.
type covered struct {
	since  moment
	digest fingerprint
}

func (c *covered) see(complete bool, digest string, now time.Time) {
	switch {
	case !complete:
		*c = covered{}
	case c.since == 0 || c.digest != fingerprintOf(digest):
		*c = covered{momentOf(now), fingerprintOf(digest)}
	}
}

// settling is how long the rules of a client that updates in place wait yet, 0 when
// nothing like that holds them back.
func (r *FunnelPolicyReconciler) settling(known *known) time.Duration {
	if known.covered.since == 0 {
		return 0
	}
	return max(r.SettleFor-known.covered.since.until(r.Clock.Now()), 0)
}

// release is the value of v1alpha1.AnnotationReleased: for which backend policy, which
// rules of it and which Service in front of it a client's rules are released.
func release(backend types.NamespacedName, digest string, service *corev1.Service) string {
	return fmt.Sprintf("%s %s %s", backend, digest, service.UID)
}

// staysReleased reports whether the ConfigMap holds rules that were released as the
// program's are to be, or the program itself. What it was released for before stays, but
// where that named no Service, as it was written at first: then it was this one.
func (r *FunnelPolicyReconciler) staysReleased(ctx context.Context, have *corev1.ConfigMap, program *policy.Program) (bool, error) {
	released := releasedFor(have)
	if released == program.ReleasedFor {
		return true, nil
	}
	stays, err := r.hasData(ctx, have, program.Data)
	if stays && !strings.HasPrefix(program.ReleasedFor, released+" ") {
		program.ReleasedFor = released
	}
	return stays, err
}

// releasedFor is for which backend a ConfigMap of ours holds rules.
func releasedFor(have *corev1.ConfigMap) string {
	if have == nil || !owned(have) {
		return ""
	}
	return have.Annotations[v1alpha1.AnnotationReleased]
}

// coverage looks at the endpoints of the Service in front of a backend.
func (r *FunnelPolicyReconciler) coverage(backend *v1alpha1.FunnelPolicy, digest string) (status.Coverage, error) {
	service := types.NamespacedName{Namespace: backend.Namespace, Name: backend.Spec.Backend.Service}
	slices, err := r.endpointSlices.of(service)
	if err != nil {
		return status.Coverage{}, err
	}
	var failed error
	pod := func(name string) *corev1.Pod {
		p, err := r.pods.get(types.NamespacedName{Namespace: service.Namespace, Name: name})
		if err != nil {
			failed = err
		}
		return p
	}
	return status.Covers(service, slices, backend.Name, digest, pod), failed
}
