// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// outage takes a program of the control plane away for a while, and waits until the API
// server answers again.
func (c *cluster) outage(program_ string, away time.Duration) {
	GinkgoHelper()
	mustRun(program("cluster"), "outage", "-name", c.name, "-for", away.String(), "control", program_)
	Eventually(func() error {
		_, err := c.tryKubectl("", "get", "--raw", "/readyz")
		return err
	}).Should(Succeed())
}

// hit are the pods of a node, by name.
func (c *cluster) on(node string, apps ...string) map[string]corev1.Pod {
	GinkgoHelper()
	hit := map[string]corev1.Pod{}
	for _, app := range apps {
		for _, p := range c.pods(app) {
			if p.Spec.NodeName == node {
				hit[p.Name] = p
			}
		}
	}
	return hit
}

// sparing is the node on which fewest ends of the load's flows are, and who they are: when
// the node goes, these flows lose messages whoever made the rules.
func (c *cluster) sparing(t *tally) (node string, excused func(client string, f survey.Flow) bool) {
	GinkgoHelper()
	least := -1
	for number := 1; number <= 3; number++ {
		candidate := fmt.Sprint("node-", number)
		pods := c.on(candidate, "site", "loaded")
		hit := func(client string, f survey.Flow) bool {
			_, ofClient := pods[client]
			_, ofServer := pods[f.Pod]
			return ofClient || ofServer
		}
		count := 0
		for _, load := range t.loads() {
			for _, f := range load.Flows {
				if hit(load.Client, f) {
					count++
				}
			}
		}
		if least < 0 || count < least {
			least, node, excused = count, candidate, hit
		}
	}
	return node, excused
}

// reboot kills all that a node runs at once, and waits until each of its pods of these apps
// was started anew, in the same place under the same name.
func (c *cluster) reboot(node string, apps ...string) {
	GinkgoHelper()
	before := c.on(node, apps...)
	mustRun(program("cluster"), "reboot", "-name", c.name, node)
	Eventually(func() (waiting []string) {
		now := c.on(node, apps...)
		for name, old := range before {
			if problem := restarted(old, now[name]); problem != "" {
				waiting = append(waiting, name+": "+problem)
			}
		}
		return slices.Sorted(slices.Values(waiting))
	}).Should(BeEmpty())
}

// restarted says what keeps a pod from being ready in a sandbox of its own that is newer
// than the old one.
func restarted(old, now corev1.Pod) string {
	if now.UID != old.UID {
		return "it is gone"
	}
	for i, status := range slices.Concat(now.Status.InitContainerStatuses, now.Status.ContainerStatuses) {
		was := slices.Concat(old.Status.InitContainerStatuses, old.Status.ContainerStatuses)[i]
		if status.ContainerID == was.ContainerID {
			return status.Name + " is not started again"
		}
	}
	if !isReady(now) {
		return "not ready"
	}
	return ""
}

// remake deletes policies and makes them again. Their rules stay meanwhile, for pods that
// start again.
func (c *cluster) remake(between func()) {
	GinkgoHelper()
	rules := c.rules("site")
	c.kubectl("-n", c.namespace, "delete", "fp", "site", "site-cluster", "client", "loaded")
	between()
	Expect(c.rules("site")).To(Equal(rules))
	c.applySite()
}

func (c *cluster) applySite() {
	GinkgoHelper()
	c.kubectl("apply", "-f", "test/e2e/testdata/site-backends.yaml", "-f", "test/e2e/testdata/site-clients.yaml")
}

// fight lets a second policy fight for the pods of site, while these are rolled: it is
// told so, and takes nothing away. What it selects and was never given rules for waits, until
// it is gone; those that run go on.
func (c *cluster) fight() {
	GinkgoHelper()
	inline := ""
	for line := range strings.Lines(c.rules("site")) {
		if strings.Contains(line, "inline") {
			inline = line
			break
		}
	}
	match, _, found := strings.Cut(inline, " unfunnel")
	Expect(found).To(BeTrue(), "no rule of site unfunnels inline")
	c.apply(policyFor("site", "rival", fmt.Sprintf("rules: {text: {ingress: %q}}", strings.TrimSuffix(match, " actions")+" drop")))
	Eventually(c.condition("rival", "Accepted")).Should(Equal("False/Conflicted"))
	Expect(c.condition("site", "Ready")()).To(Equal("True/Ready"))
	c.kubectl("-n", c.namespace, "rollout", "restart", "deployment/site")
	Eventually(func() (waiting int) {
		for _, p := range c.pods("site") {
			if p.Status.Phase == corev1.PodPending {
				waiting++
			}
		}
		return waiting
	}).Should(Equal(sitePods))
	c.kubectl("-n", c.namespace, "delete", "fp", "rival")
	c.running("site")
	c.settledSite()
}
