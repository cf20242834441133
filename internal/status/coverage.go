// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// Coverage sums up which ready endpoints of a Service run the rules of a backend
// policy.
type Coverage struct {
	// Service in front of them.
	Service types.NamespacedName
	// NotInjected are the pods without injection among the ready endpoints.
	NotInjected []string

	ready   int
	without sample
	leaving int // that end, and may not run the rules
}

// Covers looks at the endpoints of a Service. A pod that is in several slices, one
// for each IP family, counts once. pod returns an injected pod of the
// Service's namespace, nil when there is none of that name; the policy's current
// rules have that digest.
func Covers(service types.NamespacedName, slices []discoveryv1.EndpointSlice, policy, digest string, pod func(name string) *corev1.Pod) Coverage {
	c := Coverage{Service: service}
	seen := map[string]bool{}
	for i := range slices {
		for j := range slices[i].Endpoints {
			e := &slices[i].Endpoints[j]
			name := endpointName(service.Namespace, e)
			if seen[name] {
				continue
			}
			switch {
			case ptr.Deref(e.Conditions.Ready, true):
				seen[name] = true
				c.ready++
				if why := lacks(service.Namespace, e, policy, digest, pod); why != "" {
					c.without.add(withDetail(name, why))
					if why == notInjected {
						c.NotInjected = append(c.NotInjected, name)
					}
				}
			case ptr.Deref(e.Conditions.Terminating, false):
				seen[name] = true
				if lacks(service.Namespace, e, policy, digest, staying(pod)) != "" {
					c.leaving++
				}
			}
		}
	}
	return c
}

// staying returns pods as they were before somebody deleted them.
func staying(pod func(string) *corev1.Pod) func(string) *corev1.Pod {
	return func(name string) *corev1.Pod {
		p := pod(name)
		if p == nil || p.DeletionTimestamp == nil {
			return p
		}
		p = p.DeepCopy()
		p.DeletionTimestamp = nil
		return p
	}
}

// endpointName is a pod's name, which is no address, or an address.
func endpointName(namespace string, e *discoveryv1.Endpoint) string {
	switch {
	case noPod(namespace, e) == "":
		return e.TargetRef.Name
	case len(e.Addresses) > 0:
		return e.Addresses[0]
	}
	return "without address"
}

// noPod says that an endpoint is no pod of the Service's namespace, "" when it is.
func noPod(namespace string, e *discoveryv1.Endpoint) string {
	switch to := e.TargetRef; {
	case to == nil || to.Kind != "Pod":
		return "no pod"
	case to.Namespace != "" && to.Namespace != namespace:
		return "no pod of this namespace"
	}
	return ""
}

// notInjected is what lacks says of a pod that was not.
const notInjected = "not injected"

// lacks says why an endpoint does not run the rules, "" when it does.
func lacks(namespace string, e *discoveryv1.Endpoint, policy, digest string, pod func(string) *corev1.Pod) string {
	if why := noPod(namespace, e); why != "" {
		return why
	}
	p := pod(e.TargetRef.Name)
	if p == nil {
		return notInjected
	}
	switch seen := observe(p, policy, digest); seen.state {
	case Attached, Gone: // who goes will soon not be ready
		return ""
	case Missing:
		return notInjected
	default:
		return seen.state.String()
	}
}

// Complete reports whether there are ready endpoints and all run the rules.
func (c Coverage) Complete() bool { return c.ready > 0 && c.without.total == 0 }

// Leaving reports whether endpoints that end, and that nodes may still lead clients to,
// might not run the rules.
func (c Coverage) Leaving() bool { return c.leaving > 0 }

// Lacks says what keeps it from being complete.
func (c Coverage) Lacks() string {
	if c.ready == 0 {
		return fmt.Sprintf("Service %s has no ready endpoint yet", c.Service)
	}
	return fmt.Sprintf("%d of %s of Service %s don't run its current rules: %s", c.without.total, counted(c.ready, "ready endpoint"), c.Service, c.without)
}

// JustComplete says that it has not been complete for long.
func (c Coverage) JustComplete() string {
	return fmt.Sprintf("all of %s of Service %s have just come to run its current rules; nodes may not know yet which others have gone", counted(c.ready, "ready endpoint"), c.Service)
}

// covered answers whether every ready endpoint of a backend's Service undoes what
// clients funnel.
func (c Coverage) covered() verdict {
	switch {
	case c.ready == 0:
		return unknown(v1alpha1.ReasonNoEndpoints, c.Lacks()+".")
	case c.without.total > 0:
		return no(v1alpha1.ReasonEndpointsNotCovered, fmt.Sprintf(
			"%s. Funneled connections that reach these are refused, and pushed packets lost: replace them by pods with the rules (Attached has the commands), or keep them out of the Service.", c.Lacks()))
	}
	return yes(v1alpha1.ReasonEndpointsCovered, fmt.Sprintf("All of %s of Service %s run the current rules.", counted(c.ready, "ready endpoint"), c.Service))
}
