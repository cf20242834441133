// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// serviceAddresses returns the addresses at which the Service is reached, each
// once: cluster IPs, load-balancer ingress IPs and external IPs. It also returns
// what stands there and is no such address: host names of load balancers, and
// ingress IPs whose mode is Proxy, behind which the load balancer speaks for
// itself.
func serviceAddresses(s *corev1.Service) (usable []netip.Addr, unusable []string) {
	for _, text := range serviceTexts(s) {
		if a, err := netip.ParseAddr(text); err == nil {
			usable = append(usable, a.Unmap())
		}
	}
	for _, in := range balancerIngress(s) {
		a, err := netip.ParseAddr(in.IP)
		switch {
		case in.IP == "":
			unusable = append(unusable, fmt.Sprintf("host name %s", in.Hostname))
		case err != nil:
		case in.IPMode != nil && *in.IPMode == corev1.LoadBalancerIPModeProxy:
			unusable = append(unusable, fmt.Sprintf("%s (ipMode Proxy)", a))
		default:
			usable = append(usable, a.Unmap())
		}
	}
	return unique(usable), unique(unusable)
}

// serviceTexts are the addresses that the Service's spec lists.
func serviceTexts(s *corev1.Service) []string {
	texts := s.Spec.ClusterIPs
	if len(texts) == 0 {
		texts = []string{s.Spec.ClusterIP}
	}
	return slices.Concat(texts, s.Spec.ExternalIPs)
}

func balancerIngress(s *corev1.Service) []corev1.LoadBalancerIngress {
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	return s.Status.LoadBalancer.Ingress
}

// unsupported says why the Service can't be named in a rule, "" if it can.
func unsupported(s *corev1.Service) string {
	switch {
	case s.Spec.Type == corev1.ServiceTypeExternalName:
		return "is of type ExternalName, which has no addresses of its own"
	case s.Spec.ClusterIP == corev1.ClusterIPNone:
		return "is headless, so that its clients reach pods directly and not through a load balancer"
	}
	return ""
}

// addresses are the usable addresses of the Services that exist.
func (c *compiler) addresses() map[types.NamespacedName][]string {
	all := map[types.NamespacedName][]string{}
	for _, name := range c.program.Services {
		s := c.in.Services[name]
		if s == nil || unsupported(s) != "" {
			continue
		}
		usable, _ := serviceAddresses(s)
		texts := make([]string, len(usable))
		for i, a := range usable {
			texts[i] = a.String()
		}
		all[name] = texts
	}
	return all
}

// warnAboutServices names the addresses that can't be used.
func (c *compiler) warnAboutServices() {
	for _, name := range c.program.Services {
		s := c.in.Services[name]
		if s == nil || unsupported(s) != "" {
			continue
		}
		if _, unusable := serviceAddresses(s); len(unusable) > 0 {
			c.program.Warnings = append(c.program.Warnings, Warning{
				Reason:  v1alpha1.ReasonAddressesUnusable,
				Message: fmt.Sprintf("Service %s is also reached by %s, which no rule can match: packets sent there are not funneled", name, strings.Join(unusable, ", ")),
			})
		}
	}
}
