// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

// FUNNEL_INPLACE_TIMES is how often both sides are introduced at once, FUNNEL_INPLACE_PODS
// how many pods an edit reaches, 26 when it is not set.
const (
	inPlaceTimes = "FUNNEL_INPLACE_TIMES"
	inPlacePods  = "FUNNEL_INPLACE_PODS"
)

var sitePolicies = []string{"site", "site-cluster", "client", "loaded"}

// Rules follow their policies into pods that run, under load.
var _ = Describe("Rules in running pods", Ordered, Label("in-place"), func() {
	var c *cluster
	var load *tally

	BeforeAll(func() {
		c = startCluster()
		load = c.startTally()
		c.deploySite()
		phase("in place: install the operator")
		c.apply(mustRun("hack/render.sh", built.manager, built.attacher, "in-place"))
		c.attachers = []string{built.attacher}
		c.operatorRuns()
	})

	JustAfterEach(func() { c.describeFailed(load) })

	It("come to both sides at once, in any order, without a second rollout and a lost message", func() {
		for i := range int(number(inPlaceTimes, 1)) {
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
			for _, file := range []string{"site-backends.yaml", "site-clients.yaml"} {
				_, err := c.tryKubectl(inPlace(file), "diff", "-f", "-")
				Expect(err).NotTo(HaveOccurred(), "the cluster has drifted from %s", file)
			}
		}
	})

	It("change under live flows, which go on", func() {
		pods := int(number(inPlacePods, sitePods+podClients))
		phase(fmt.Sprintf("in place: a policy's edit, with %d pods, under load", pods))
		c.kubectl("-n", c.namespace, "scale", "deployment/client", fmt.Sprint("--replicas=", pods-sitePods-loadedPods))
		c.running("client")
		c.expectAttached(sitePolicies...)
		load.begin(c)
		before := map[string]string{}
		for _, policy := range sitePolicies {
			before[policy] = c.policy(policy).Status.RulesDigest
		}
		workloads := c.generations()
		began := time.Now()
		c.editBackends(`{"op": "add", "path": "/spec/backend/ports/-", "value": {"port": 9443, "protocol": "TCP"}}`)
		for _, policy := range sitePolicies {
			Eventually(func() string { return c.policy(policy).Status.RulesDigest }).ShouldNot(Equal(before[policy]))
		}
		c.expectAttached(sitePolicies...)
		fmt.Printf("a policy's edit to the last of %d pods: %s\n", pods, seconds(time.Since(began)))
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
		Expect(c.generations()).To(Equal(workloads), "what Git holds has changed")
	})

	It("are brought by hand where a policy does not ask for it", func() {
		phase("in place: kubectl funnel refresh, under load")
		mustRun("go", "build", "-o", program("kubectl-funnel"), "./cmd/kubectl-funnel")
		load.begin(c)
		c.editBackends(`{"op": "remove", "path": "/spec/inPlace"}, {"op": "replace", "path": "/spec/updateStrategy", "value": "OnRecreate"},
			{"op": "add", "path": "/spec/backend/ports/-", "value": {"port": 9444, "protocol": "TCP"}}`)
		for _, policy := range []string{"site", "site-cluster"} {
			Eventually(c.condition(policy, "Attached")).Should(Equal("False/PodsOutdated"), policy)
		}
		told, err := runWith([]string{"KUBECONFIG=" + c.kubeconfig}, "", program("kubectl-funnel"),
			"refresh", "-n", c.namespace, "--max-unavailable=50%", "site", "site-cluster")
		GinkgoWriter.Println(told)
		Expect(err).NotTo(HaveOccurred())
		c.expectAttached(sitePolicies...)
		load.awaitAnswers(c)
		load.expectNothingLost(c, "kubectl funnel refresh")
		c.expectNoneMisdelivered(c.pods("site"))
	})
})

// editBackends applies JSON patch operations to the policies of both Services.
func (c *cluster) editBackends(operations string) {
	GinkgoHelper()
	for _, policy := range []string{"site", "site-cluster"} {
		c.kubectl("-n", c.namespace, "patch", "fp", policy, "--type=json", "-p", "["+operations+"]")
	}
}

// generations are those of the workloads: they grow with every change of a spec.
func (c *cluster) generations() string {
	GinkgoHelper()
	return c.kubectl("-n", c.namespace, "get", "deployments", "-o", `jsonpath={range .items[*]}{.metadata.name} {.metadata.generation}{"\n"}{end}`)
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
