// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	. "github.com/onsi/ginkgo/v2"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// policy reads a FunnelPolicy of the workload's namespace.
func (c *cluster) policy(name string) v1alpha1.FunnelPolicy {
	GinkgoHelper()
	var p v1alpha1.FunnelPolicy
	c.read(&p, "fp", name)
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
