// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// bulk is what each connection of a bulk survey carries in each direction: with three
// ports and both families tens of megabytes a client.
const (
	bulk         = 4 << 20
	nodePortBulk = 256 << 10
)

// shopPods is how many pods the Service shop has.
const shopPods = 4

// applyShop applies the policies of testdata and then the workload, whose pods are
// injected from the beginning.
func (c *cluster) applyShop() {
	GinkgoHelper()
	c.kubectl("apply", "-f", "test/e2e/testdata/shop-policies.yaml")
	for _, name := range []string{"shop", "shop-client"} {
		Eventually(c.condition(name, "Ready")).Should(Equal("True/Ready"))
	}
	c.kubectl("apply", "-f", "test/e2e/testdata/shop.yaml")
	c.balance("shop", shopBalancer)
}

// expectInline checks that all clients of the Service reach one pod on all its ports
// with bulk transfers, in both families; that meanwhile the kubelets' probes and
// direct clients of the funneled ports work; and that a backend without injection
// refuses connections instead of taking them at the wrong port.
func expectInline(c *cluster) {
	GinkgoHelper()
	c.serving("shop", shopPods)
	c.running("bare", 1)
	before := c.health("shop")
	concurrently(
		func() { expectTogether(c.ask(survey.Question{Service: "shop", Family: 4, Bytes: bulk})) },
		func() { expectTogether(c.ask(survey.Question{Service: "shop", Family: 6, Bytes: bulk})) },
		func() { expectNodePorts(c) },
		func() { expectDirect(c) },
		func() { expectBareRefuses(c) },
	)
	Expect(c.health("shop")).To(Equal(before), "probes of the funneled ports")
}

// health is what the kubelets think of an app's pods: since when each is ready, and how
// often it was started again.
func (c *cluster) health(app string) map[string]string {
	GinkgoHelper()
	health := map[string]string{}
	for _, p := range c.pods(app) {
		for _, condition := range p.Status.Conditions {
			if condition.Type == "Ready" {
				health[p.Metadata.Name] = fmt.Sprint(condition.Status, condition.LastTransitionTime, p.Status.ContainerStatuses)
			}
		}
	}
	return health
}

// expectDirect checks that somebody without rules reaches each pod at its funneled
// ports in bulk.
func expectDirect(c *cluster) {
	GinkgoHelper()
	args := []string{"ask", "-bytes", fmt.Sprint(bulk)}
	for _, p := range c.pods("shop") {
		for _, address := range p.Status.PodIPs {
			args = append(args, "tcp://"+net.JoinHostPort(address.IP, "443"), "tcp://"+net.JoinHostPort(address.IP, "8080"))
		}
	}
	var clients []survey.Client
	Expect(json.Unmarshal([]byte(c.in("control", "echo", args...)), &clients)).To(Succeed())
	Expect(clients).To(HaveLen(1))
	Expect(clients[0].Errors).To(BeEmpty())
	Expect(clients[0].Answers).To(HaveLen(len(args) - 3))
}

// expectBareRefuses checks what clients that funnel get from a pod that does not
// unfunnel: a refused connection, while the through port itself works.
func expectBareRefuses(c *cluster) {
	GinkgoHelper()
	var told survey.Client
	c.askClient(&told, "ask", "tcp://10.92.0.81:80", "tcp://10.92.0.81:443")
	Expect(told.Answers).To(HaveLen(1))
	Expect(told.Answers).To(HaveKeyWithValue("tcp://10.92.0.81:80", HaveField("Port", 8081)))
	Expect(told.Errors).To(HaveKeyWithValue("tcp://10.92.0.81:443", ContainSubstring("connection refused")))
}

// askClient lets the first client pod do something and decodes what it says.
func (c *cluster) askClient(into any, what string, targets ...string) {
	GinkgoHelper()
	address := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:%d/proxy/%s?%s",
		namespace, c.pods("client")[0].Metadata.Name, clientPort, what, url.Values{"target": targets}.Encode())
	Expect(json.Unmarshal([]byte(c.kubectl("get", "--raw", address)), into)).To(Succeed())
}

// concurrently runs checks at the same time and returns when all have passed.
func concurrently(checks ...func()) {
	GinkgoHelper()
	var all sync.WaitGroup
	var passed atomic.Int32
	for _, check := range checks {
		all.Go(func() {
			defer GinkgoRecover()
			check()
			passed.Add(1)
		})
	}
	all.Wait()
	Expect(passed.Load()).To(BeEquivalentTo(len(checks)), "checks that passed; the others' failures are reported by themselves")
}
