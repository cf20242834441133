// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// client compiles the form for clients of a Service: what its backend policy
// says, seen from the other side.
func (c *compiler) client(path *field.Path) {
	path = path.Child("policyRef")
	name := BackendName(c.policy)
	if name.Name == "" {
		c.fail(field.Required(path.Child("name"), "write the name of a FunnelPolicy"))
		return
	}
	c.program.Backend = name
	backend := c.in.Backend
	switch allowed := backend != nil && allows(backend, c.policy.Namespace, c.in.Labels); {
	case backend == nil && (name.Namespace == c.policy.Namespace || c.in.Released):
		c.missing(v1alpha1.ReasonPolicyNotFound, path, fmt.Sprintf("FunnelPolicy %s does not exist", name))
	case !allowed:
		// The same words whether there is one or not.
		c.program.Revoked = true
		c.missing(v1alpha1.ReasonClientNotAllowed, path, fmt.Sprintf(
			"FunnelPolicy %s does not let policies of namespace %s refer to it, or does not exist; its spec.backend.clients.namespaceSelector has to select this namespace", name, c.policy.Namespace))
	case backend.Spec.Backend == nil:
		c.missing(v1alpha1.ReasonNotABackend, path, fmt.Sprintf("FunnelPolicy %s has no spec.backend, so that nobody can be its client", name))
	default:
		c.clientOf(path, backend)
	}
}

// clientOf makes the rules for clients of that backend.
func (c *compiler) clientOf(path *field.Path, backend *v1alpha1.FunnelPolicy) {
	theirs := &compiler{policy: backend, in: Cluster{Services: c.in.Services}, program: &Program{}}
	f, _ := theirs.funneling(field.NewPath("spec", "backend"))
	c.program.Front = theirs.program.Front
	if len(theirs.errs) > 0 {
		c.missing(v1alpha1.ReasonBackendNotAttached, path, fmt.Sprintf("FunnelPolicy %s does not compile; its condition Accepted says why", c.program.Backend))
		return
	}
	for _, u := range theirs.program.Unresolved {
		c.missing(u.Reason, path, fmt.Sprintf("FunnelPolicy %s: %s", c.program.Backend, u.Message))
	}
	if f == nil {
		return
	}
	s := c.in.Services[c.program.Front]
	to := inCluster(s)
	if len(to[0].addresses)+len(to[1].addresses) == 0 {
		c.missing(v1alpha1.ReasonAddressPending, path, fmt.Sprintf("Service %s has no IP address yet", c.program.Front))
		return
	}
	c.program.Egress = f.egress(to, f.emit)
	c.warnAboutLost(f, to[1])
	c.checkRules(path, c.program.Egress)
}

func (c *compiler) missing(reason string, path *field.Path, what string) {
	c.program.Unresolved = append(c.program.Unresolved, Unresolved{Reason: reason, Message: fmt.Sprintf("%s: %s", path, what)})
}

// inCluster are the addresses at which pods reach the Service: cluster IPs, and
// those for clients from outside.
func inCluster(s *corev1.Service) []reach {
	inside := *s
	inside.Spec.ExternalIPs, inside.Status = nil, corev1.ServiceStatus{}
	own, _ := serviceAddresses(&inside)
	return []reach{{addresses: own}, outside(s)}
}

// outside are the addresses for clients from outside the cluster. Unless the
// Service's traffic policy is Local whoever uses them is masqueraded.
func outside(s *corev1.Service) reach {
	external := *s
	external.Spec.ClusterIP, external.Spec.ClusterIPs = "", nil
	addresses, _ := serviceAddresses(&external)
	return reach{addresses: addresses, masqueraded: s.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal}
}

// warnAboutLost names the addresses that clients must not use for some ports.
func (c *compiler) warnAboutLost(f *funneling, to reach) {
	if !to.masqueraded || len(to.addresses) == 0 {
		return
	}
	for _, inner := range innerProtocols {
		a, emitted := f.emit(inner)
		if !emitted || a.Inline || !f.lost(inner, a.SourcePorts) {
			continue
		}
		texts := make([]string, len(to.addresses))
		for i, addr := range to.addresses {
			texts[i] = addr.String()
		}
		message := fmt.Sprintf(
			"Service %s is also reached at %s, where clients are masqueraded: source ports, which tell that %v is inside, are drawn anew, so that what is sent to its %v ports there is not funneled",
			c.program.Front, strings.Join(texts, ", "), inner, inner)
		if f.mistaken(inner, a.SourcePorts) {
			message += fmt.Sprintf("; in FunnelPolicy %s %s", c.program.Backend, f.keepApart(field.NewPath("spec", "backend", "sourcePorts")))
		}
		c.program.Warnings = append(c.program.Warnings, Warning{v1alpha1.ReasonAddressesUnusable, message})
	}
}
