// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// manyPods is how many pods roll at once while rules change: those of site, loaded, and
// the rest of client.
const manyPods = 50

// siteApps each have a policy of their name.
var siteApps = []string{"site", "client", "loaded"}

// rollMany rolls all pods at once while the ports of both backend policies change again and
// again. In the end every pod runs current rules or is listed as one that does not; after
// one more rollout, all run them.
func (c *cluster) rollMany() (changes int) {
	GinkgoHelper()
	c.kubectl("-n", c.namespace, "scale", "deployment/client", fmt.Sprint("--replicas=", manyPods-sitePods-loadedPods))
	c.running("client")
	changes = meanwhile(c.changePorts, func() {
		concurrently(c.rollSite, func() { c.roll("client") }, func() { c.roll("loaded") })
	})
	for _, app := range siteApps {
		Eventually(func() error { return c.accounted(app, false) }).Should(Succeed())
		counts := c.policy(app).Status.Pods
		fmt.Printf("%d changes while %d pods rolled: %s: %d attached, %d outdated\n", changes, manyPods, app, counts.Attached, counts.Outdated)
	}
	c.rollSite()
	Eventually(c.condition("site", "Attached")).Should(Equal("True/Attached"))
	for _, policy := range []string{"client", "loaded"} {
		Eventually(c.condition(policy, "Ready")).Should(Equal("True/Ready"))
	}
	concurrently(func() { c.roll("client") }, func() { c.roll("loaded") })
	return changes
}

// changePorts lets the policies list one port more, and then no more.
func (c *cluster) changePorts() {
	GinkgoHelper()
	c.kubectl("-n", c.namespace, "patch", "fp", "site", "site-cluster", "--type=json",
		"-p", `[{"op": "add", "path": "/spec/backend/ports/-", "value": {"port": 9000}}]`)
	c.kubectl("apply", "-f", "test/e2e/testdata/site-backends.yaml")
}

// expectNoneSplit asks all client pods, not only those that are under load. What one pushed
// a moment before the fault may have led to a pod that is gone, and follows.
func (c *cluster) expectNoneSplit() {
	GinkgoHelper()
	inside := doors[0]
	for family := range families {
		var clients []survey.Client
		Eventually(func() survey.Counts {
			clients = c.askPods("role=client", family, inside.with(family), 0)
			return survey.Count(clients)
		}).WithTimeout(follow).Should(And(HaveField("Mute", BeZero()), HaveField("Split", BeZero())), "IPv%d", family)
		inside.expectAnswers(clients, inside.with(family))
	}
}
