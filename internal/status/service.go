// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// longAffinity is the timeout that True messages advise, in seconds: the
// largest that the API allows.
const longAffinity = 86400

// carries reports whether the Service leads funneled packets to pods of this
// policy: it selects them, and one of its ports arrives at a port that the
// ingress rules unfunnel. Clients of a headless one dial pods: nothing balances there.
func carries(s *corev1.Service, p *v1alpha1.FunnelPolicy, ingress rules.RuleSet, shapes []podShape) bool {
	if len(s.Spec.Selector) == 0 || s.Namespace != p.Namespace || s.Spec.ClusterIP == corev1.ClusterIPNone {
		return false
	}
	selector := labels.SelectorFromSet(s.Spec.Selector)
	if selector.Matches(labels.Set(p.Spec.PodSelector.MatchLabels)) && carriesPort(s, ingress, podShape{}) {
		return true
	}
	return slices.ContainsFunc(shapes, func(shape podShape) bool {
		return selector.Matches(shape.Labels) && carriesPort(s, ingress, shape)
	})
}

func carriesPort(s *corev1.Service, ingress rules.RuleSet, shape podShape) bool {
	return slices.ContainsFunc(s.Spec.Ports, func(port corev1.ServicePort) bool {
		target, ok := targetPort(port, shape)
		return ok && slices.ContainsFunc(ingress, func(r rules.Rule) bool {
			return r.Action.Verb == rules.Unfunnel && sameProtocol(r.Protocol, port.Protocol) && r.DestinationPorts.Contains(target)
		})
	})
}

// targetPort is the port that packets to the Service's port have when they
// reach pods of that shape.
func targetPort(port corev1.ServicePort, shape podShape) (uint16, bool) {
	switch number := port.TargetPort.IntVal; {
	case port.TargetPort.Type == intstr.String:
		n, ok := shape.Ports[policy.PortKey(port.Protocol, port.TargetPort.StrVal)]
		return uint16(n), ok
	case number == 0:
		return uint16(port.Port), true
	default:
		return uint16(number), true
	}
}

func sameProtocol(p rules.Protocol, of corev1.Protocol) bool {
	return p == rules.TCP && (of == corev1.ProtocolTCP || of == "") || p == rules.UDP && of == corev1.ProtocolUDP
}

// affinity answers whether the Services in front keep a client on one pod.
func affinity(front []*corev1.Service) verdict {
	if len(front) == 0 {
		return unknown(v1alpha1.ReasonNoServices, "No Service that carries funneled packets is known.")
	}
	var lost, kept, short sample
	var set commands
	for _, s := range front {
		name := nameOf(s).String()
		if s.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
			lost.add(name)
			set.add(patchService(s, "sessionAffinity", "ClientIP"))
			continue
		}
		seconds := affinityTimeout(s)
		kept.add(fmt.Sprintf("Service %s for %d s", name, seconds))
		if seconds < longAffinity {
			short.add(name)
		}
	}
	if lost.total > 0 {
		return no(v1alpha1.ReasonAffinityNone, fmt.Sprintf("spec.sessionAffinity is not ClientIP in Service %s, so that flows of one client reach different pods. Run: %s.", lost, set))
	}
	return yes(v1alpha1.ReasonClientIP, sentences(fmt.Sprintf("ClientIP affinity is kept: %s.", kept), adviseTimeout(short)))
}

// patchService is the command that sets a field of the Service's spec.
func patchService(s *corev1.Service, field, value string) string {
	return fmt.Sprintf(`kubectl -n %s patch service %s -p '{"spec":{"%s":"%s"}}'`, s.Namespace, s.Name, field, value)
}

func adviseTimeout(short sample) string {
	if short.total == 0 {
		return ""
	}
	return fmt.Sprintf("Only new connections refresh it: set spec.sessionAffinityConfig.clientIP.timeoutSeconds to %d in %s.", longAffinity, short)
}

func affinityTimeout(s *corev1.Service) int32 {
	c := s.Spec.SessionAffinityConfig
	if c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
		return corev1.DefaultClientIPServiceAffinitySeconds
	}
	return *c.ClientIP.TimeoutSeconds
}

// sourceIP answers whether packets reach the pods with their clients' addresses
// and ports.
func sourceIP(front []*corev1.Service, consequence string) verdict {
	if len(front) == 0 {
		return unknown(v1alpha1.ReasonNoServices, "No Service that carries funneled packets is known.")
	}
	var masquerading sample
	var set commands
	for _, s := range front {
		if masquerades(s) {
			masquerading.add(withDetail(nameOf(s).String(), string(s.Spec.Type)))
			set.add(patchService(s, "externalTrafficPolicy", "Local"))
		}
	}
	if masquerading.total == 0 {
		return yes(v1alpha1.ReasonSourceIPPreserved, "No Service in front masquerades its clients. Off-cluster clients of a cluster IP, and a pod that reaches itself through its own Service, are masqueraded all the same.")
	}
	return no(v1alpha1.ReasonTrafficPolicyCluster, fmt.Sprintf(
		"spec.externalTrafficPolicy is Cluster in Service %s, so that clients from outside the cluster are masqueraded: %s. To keep their addresses run: %s.",
		masquerading, consequence, set))
}

func masquerades(s *corev1.Service) bool {
	outside := s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer || len(s.Spec.ExternalIPs) > 0
	return outside && s.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal
}

// consequence says which effect of masquerading matters here.
func (f Facts) consequence() string {
	if f.Policy.Spec.Client != nil {
		return "what is sent to their addresses is funneled only where the backend knows it without source ports (the condition Warnings names what is not)"
	}
	if f.Policy.Spec.Backend != nil {
		return backendConsequence(f.ingress(), len(f.Policy.Spec.Backend.SourceCIDRs) > 0)
	}
	return consequence(f.ingress())
}

// backendConsequence says the same in the words of the backend form.
func backendConsequence(ingress rules.RuleSet, bySource bool) string {
	var lost []string
	for _, r := range ingress {
		if name := r.Action.Protocol.String(); r.Action.Verb == rules.Unfunnel && len(r.SourcePorts.Ranges) > 0 && !slices.Contains(lost, name) {
			lost = append(lost, name)
		}
	}
	text := "inline and pushed packets are recognised all the same"
	if len(lost) > 0 {
		text = fmt.Sprintf("pushed %s is told by source ports, which are drawn anew, and not recognised; all else is", strings.Join(lost, " and "))
	}
	if bySource {
		text += "; sourceCIDRs sees addresses of nodes"
	}
	return text
}

// consequence says which effect of masquerading matters for these rules.
func consequence(ingress rules.RuleSet) string {
	var address, port bool
	for _, r := range ingress {
		address = address || len(r.Source.Prefixes) > 0
		port = port || r.Action.Verb == rules.Unfunnel && len(r.SourcePorts.Ranges) > 0
	}
	switch {
	case address && port:
		return "rules that match source addresses see those of nodes, and unfunnel rules that match source ports miss packets, because source ports are drawn anew (match pushed instead, or let one protocol be pushed)"
	case port:
		return "unfunnel rules that match source ports miss packets, because source ports are drawn anew (match pushed instead, or let one protocol be pushed)"
	case address:
		return "rules that match source addresses see those of nodes"
	}
	return "the pods see addresses of nodes; the rules do not depend on them"
}

func byName(a, b *corev1.Service) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
