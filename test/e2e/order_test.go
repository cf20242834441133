// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// introduce applies the policies of both sides at once, as GitOps does, under load.
// Clients' rules wait until the servers were rolled; then the clients are.
func (c *cluster) introduce(t *tally) {
	GinkgoHelper()
	t.begin(c)
	applied := time.Now()
	c.kubectl("apply", "-f", "test/e2e/testdata/site-backends.yaml", "-f", "test/e2e/testdata/site-clients.yaml")
	Eventually(func() error { return c.api.Get(GinkgoT().Context(), c.keyOf("site-funnel"), &corev1.ConfigMap{}) }).
		WithPolling(50 * time.Millisecond).Should(Succeed())
	table.took("kubectl apply of policies to the ConfigMap", time.Since(applied))
	Eventually(c.condition("site", "Ready")).Should(Equal("True/Ready"))
	Eventually(c.condition("site", "Attached")).Should(Equal("False/PodsNotInjected"))
	// This Service names its target port, which is looked up in pods that are injected.
	Eventually(c.condition("site-cluster", "ResolvedRefs")).Should(Equal("False/PortNotFound"))
	for _, policy := range []string{"client", "loaded"} {
		Eventually(c.condition(policy, "ResolvedRefs")).Should(Equal("False/BackendNotAttached"))
		Expect(c.rules(policy)).NotTo(ContainSubstring("funnel"), "rules of %s before the servers have theirs", policy)
	}

	phase(c.mode + ": roll the servers with policies, under load")
	c.timeToAttached(t)
	Eventually(c.condition("site-cluster", "Attached")).Should(Equal("True/Attached"))
	Expect(c.injected("site")).To(Equal(sitePods))
	for _, policy := range []string{"client", "loaded"} {
		Eventually(c.condition(policy, "ResolvedRefs")).Should(Equal("True/ResolvedRefs"))
		Expect(c.rules(policy)).To(ContainSubstring("funnel"))
	}
	t.awaitAnswers(c)

	phase(c.mode + ": roll the clients with policies, under load")
	// Whether their policies say so is looked at later: pods that were not injected are
	// listed more and more slowly.
	c.perhapsWithoutManager(func() {
		concurrently(func() { c.roll("client") }, func() { c.roll("loaded") })
	})
	Expect(c.injected("client") + c.injected("loaded")).To(Equal(podClients))
	t.awaitAnswers(c)
	t.expectNothingLost(c, "policies, rollout of servers, rollout of clients")
	c.expectNoneMisdelivered(c.pods("site"))
}

// timeToAttached replaces the servers under load and waits until their policy says that all
// pods run its rules.
func (c *cluster) timeToAttached(t *tally) {
	GinkgoHelper()
	began := time.Now()
	c.replaceSite(t)
	Eventually(c.condition("site", "Attached")).Should(Equal("True/Attached"))
	pods := c.policy("site").Status.Pods
	Expect(pods.Attached).To(Equal(pods.Matched))
	table.took("rollout of site with its rules to Attached", time.Since(began))
}

// rules are the rules that a policy publishes for its pods.
func (c *cluster) rules(policy string) string {
	GinkgoHelper()
	var published corev1.ConfigMap
	c.read(&published, policy+"-funnel")
	return published.Data["egress.rules"] + published.Data["ingress.rules"]
}

// removeClients takes the rules from the pods of loaded, under load: clients go first.
func (c *cluster) removeClients(t *tally) {
	GinkgoHelper()
	t.begin(c)
	c.kubectl("-n", c.namespace, "delete", "fp", "loaded")
	c.roll("loaded")
	Expect(c.injected("loaded")).To(BeZero())
	t.awaitAnswers(c)
}

// removeBackends takes the rules from the servers while the pods of client still funnel,
// which is the wrong order. A condition names that while all still works; then they are
// refused, and nothing arrives at a wrong port. The load is that of clients that were in
// time, and loses nothing.
func (c *cluster) removeBackends(t *tally) {
	GinkgoHelper()
	c.kubectl("-n", c.namespace, "delete", "fp", "site", "site-cluster")
	Eventually(c.condition("client", "ResolvedRefs")).Should(Equal("False/PolicyNotFound"))
	Eventually(c.condition("client", "Programmed")).Should(Equal("False/StaleRules"))
	Expect(c.rules("client")).To(ContainSubstring("funnel"), "clients go on with the rules that they have")
	inside := doors[0]
	inside.expectAnswers(c.ask(inside, 4, inside.with(4), 0), inside.with(4))

	phase(c.mode + ": roll the servers without policies, under load")
	c.replaceSite(t)
	Expect(c.injected("site")).To(BeZero())
	t.awaitAnswers(c)
	concurrently(
		func() { expectRefused(c.askPods("role=client", 4, inside.with(4)[:3], 0)) },
		func() { expectRefused(c.askPods("role=client", 6, inside.with(6)[:3], 0)) },
		c.expectUDPUnanswered,
	)
	t.expectNothingLost(c, "clients' rules removed, then the servers'")
	c.expectNoneMisdelivered(c.pods("site"))
}

// expectRefused checks that those who still funnel are refused at the funneled ports, and
// answered at the one that everything travels through; and that the others are answered.
func expectRefused(clients []survey.Client) {
	GinkgoHelper()
	refused := 0
	for _, asked := range clients {
		for target, answer := range asked.Answers {
			if !strings.HasPrefix(asked.Name, "loaded-") {
				Expect(target).To(HaveSuffix(":80"), "%s was answered by %+v", asked.Name, answer)
			}
		}
		for target, failure := range asked.Errors {
			Expect(asked.Name).To(HavePrefix("client-"))
			Expect(target).To(Or(HaveSuffix(":443"), HaveSuffix(":8080")))
			Expect(failure).To(ContainSubstring("connection refused"))
			refused++
		}
	}
	Expect(refused).To(Equal(2 * (podClients - loadedPods)))
}

// expectUDPUnanswered checks that what is pushed to servers that don't undo it is taken
// by nobody.
func (c *cluster) expectUDPUnanswered() {
	GinkgoHelper()
	c.expectUnanswered(c.pods("client")[0], "udp://10.92.0.80:443", 0)
}

// keyOf is the key of an object of the workloads' namespace.
func (c *cluster) keyOf(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: c.namespace, Name: name}
}
