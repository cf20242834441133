// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// policy reads a FunnelPolicy of the workload's namespace.
func (c *cluster) policy(name string) v1alpha1.FunnelPolicy {
	GinkgoHelper()
	var p v1alpha1.FunnelPolicy
	c.read(&p, name)
	return p
}

// condition returns a function that reads a condition of a policy as "STATUS/REASON",
// empty while it is not there or is about an earlier generation.
func (c *cluster) condition(name, kind string) func() string {
	return func() string {
		p := c.policy(name)
		for _, condition := range p.Status.Conditions {
			if condition.Type == kind && condition.ObservedGeneration == p.Generation {
				return string(condition.Status) + "/" + condition.Reason
			}
		}
		return ""
	}
}

// message is the message of a policy's condition.
func (c *cluster) message(name, kind string) string {
	GinkgoHelper()
	for _, condition := range c.policy(name).Status.Conditions {
		if condition.Type == kind {
			return condition.Message
		}
	}
	return ""
}

// expectStatus checks the conditions, the counts and the columns of policies while all
// their pods run with current rules.
func (c *cluster) expectStatus() {
	GinkgoHelper()
	good := map[string]string{
		"Accepted": "True/Accepted", "ResolvedRefs": "True/ResolvedRefs", "Programmed": "True/Programmed",
		"SessionAffinity": "True/ClientIP", "SourceIPPreserved": "True/SourceIPPreserved",
		"Attached": "True/Attached", "Ready": "True/Ready",
		// The wire's MTU is 1500 and so is the pods': no room for 20 bytes more.
		"MTUWarning": "True/InsufficientHeadroom",
	}
	for name, others := range map[string]map[string]string{
		// Both are in front of the same pods, and each policy is about these.
		"site":         {"Coverage": "True/EndpointsCovered", "SourceIPPreserved": "False/TrafficPolicyCluster"},
		"site-cluster": {"Coverage": "True/EndpointsCovered", "SourceIPPreserved": "False/TrafficPolicyCluster"},
		"client":       nil,
	} {
		for kind, want := range good {
			if other := others[kind]; other != "" {
				want = other
			}
			Eventually(c.condition(name, kind)).Should(Equal(want), "%s of policy %s", kind, name)
		}
		if want := others["Coverage"]; want != "" {
			Eventually(c.condition(name, "Coverage")).Should(Equal(want), "policy %s", name)
		}
	}
	Expect(c.message("site-cluster", "SourceIPPreserved")).To(ContainSubstring("site-cluster"))

	lines := strings.Split(c.kubectl("-n", c.namespace, "get", "fp", "client", "site"), "\n")
	Expect(lines).To(HaveLen(3))
	Expect(strings.Fields(lines[0])).To(Equal([]string{"NAME", "READY", "REASON", "PODS", "ATTACHED", "MTU", "AGE"}))
	Expect(strings.Fields(lines[1])).To(HaveExactElements("client", "True", "Ready", "16", "16", "1500", Not(BeEmpty())))
	Expect(strings.Fields(lines[2])).To(HaveExactElements("site", "True", "Ready", "6", "6", "1500", Not(BeEmpty())))
}
