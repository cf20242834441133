// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

// FUNNEL_INPLACE_TIMES is how often both sides are introduced at once.
const inPlaceTimes = "FUNNEL_INPLACE_TIMES"

var sitePolicies = []string{"site", "site-cluster", "client", "loaded"}

// Rules follow their policies into pods that run, under load.
var _ = Describe("Rules in running pods", Ordered, Label("in-place"), func() {
	var c *cluster
	var load *tally

	BeforeAll(func() {
		phase("in place: start a cluster of 3 nodes")
		c = startCluster("nftables")
		load = c.startTally()
		c.deploySite()
		c.apply(mustRun("hack/render.sh", built.manager, built.attacher, "in-place"))
		c.kubectl("-n", "sfunnel-system", "rollout", "status", "deployment/sfunnel-manager", "--timeout="+soon.String())
	})

	JustAfterEach(func() {
		if CurrentSpecReport().Failed() {
			c.describe()
			GinkgoWriter.Printf("load: %+v\n", load.loads())
		}
	})

	It("come to both sides at once, in any order, without a second rollout and a lost message", func() {
		for i := range times() {
			phase("in place: policies and both rollouts at once, under load")
			if i > 0 {
				c.withoutPolicies()
			}
			load.begin(c)
			began := time.Now()
			c.apply(inPlace("site-backends.yaml"))
			c.apply(inPlace("site-clients.yaml"))
			concurrently(func() { c.roll("client") }, func() { c.roll("loaded") }, func() { c.roll("site") })
			c.expectAttached(sitePolicies...)
			fmt.Printf("round %d: %s from the policies to the last pod\n", i+1, seconds(time.Since(began)))
			for _, policy := range []string{"client", "loaded"} {
				Expect(c.rules(policy)).To(ContainSubstring("funnel"))
			}
			c.settledSite()
			load.awaitAnswers(c)
			load.expectNothingLost(c, "both sides at once")
			c.expectNoneMisdelivered(c.pods("site"))
		}
	})

	It("change under live flows, which go on", func() {
		phase("in place: a policy's edit, under load")
		load.begin(c)
		before := map[string]string{}
		for _, policy := range sitePolicies {
			before[policy] = c.policy(policy).Status.RulesDigest
		}
		began := time.Now()
		for _, policy := range []string{"site", "site-cluster"} {
			c.kubectl("-n", c.namespace, "patch", "fp", policy, "--type=json", "-p",
				`[{"op": "add", "path": "/spec/backend/ports/-", "value": {"port": 9443, "protocol": "TCP"}}]`)
		}
		for _, policy := range sitePolicies {
			Eventually(func() string { return c.policy(policy).Status.RulesDigest }).ShouldNot(Equal(before[policy]))
		}
		c.expectAttached(sitePolicies...)
		fmt.Printf("a policy's edit to the last of %d pods: %s\n", sitePods+podClients, seconds(time.Since(began)))
		load.awaitAnswers(c)
		load.expectNothingLost(c, "a policy's edit")
		c.expectNoneMisdelivered(c.pods("site"))
		handed := 0
		for _, app := range []string{"site", "client", "loaded"} {
			for _, p := range c.pods(app) {
				handed += handedOver(&p)
			}
		}
		Expect(handed).To(BeNumerically(">", 0), "pods whose flows were handed over")
	})
})

func times() int {
	n, err := strconv.Atoi(os.Getenv(inPlaceTimes))
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// inPlace are the policies of a file, which update pods in place, half of them at a
// time.
func inPlace(file string) string {
	GinkgoHelper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	Expect(err).NotTo(HaveOccurred())
	return strings.ReplaceAll(string(text), "\nspec:\n", "\nspec:\n  updateStrategy: InPlace\n  inPlace: {maxUnavailable: 50%}\n")
}

// expectAttached waits until all pods of these policies run their current rules.
func (c *cluster) expectAttached(policies ...string) {
	GinkgoHelper()
	for _, policy := range policies {
		Eventually(c.condition(policy, "ResolvedRefs")).Should(Equal("True/ResolvedRefs"), policy)
		Eventually(c.condition(policy, "Attached")).Should(Equal("True/Attached"), policy)
	}
}

// withoutPolicies makes everything as it was before the policies: nothing of theirs
// is left, and no pod is injected.
func (c *cluster) withoutPolicies() {
	GinkgoHelper()
	for _, policy := range sitePolicies {
		c.kubectl("-n", c.namespace, "delete", "fp", policy)
		c.kubectl("-n", c.namespace, "delete", "configmap", policy+"-funnel")
	}
	concurrently(func() { c.roll("client") }, func() { c.roll("loaded") }, func() { c.roll("site") })
	c.settledSite()
}

// handedOver is 1 for a pod that was refreshed with the capability that handing over
// its flows takes.
func handedOver(p *corev1.Pod) int {
	for _, refresh := range inject.Refreshes(p) {
		for _, capability := range refresh.SecurityContext.Capabilities.Add {
			if capability == "SYS_ADMIN" {
				return 1
			}
		}
	}
	return 0
}
