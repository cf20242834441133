// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// bulk is what each connection carries in each direction: with several ports, families
// and doors megabytes a client. It is many times what the kernel sends in one piece.
const bulk = 768 << 10

// The replicas of testdata/site.yaml.
const (
	sitePods   = 6
	loadedPods = 4
)

// siteServices are the Services in front of site that clients outside use.
var siteServices = []string{"site", "site-cluster"}

// deploySite deploys servers and clients, with the load balancer's part played by hand.
func (c *cluster) deploySite() {
	GinkgoHelper()
	phase("deploy servers and clients")
	c.kubectl("apply", "-f", "test/e2e/testdata/site.yaml")
	c.balance("site", `[{"ip": "10.94.0.2"}, {"ip": "fd94::2"}]`)
	concurrently(func() { c.running("site") }, func() { c.running("client") }, func() { c.running("loaded") })
	c.settledSite()
}

func (c *cluster) settledSite() {
	GinkgoHelper()
	for _, service := range siteServices {
		c.settled(service)
	}
}

// rollSite replaces the servers.
func (c *cluster) rollSite() {
	GinkgoHelper()
	c.roll("site")
	c.settledSite()
}

// replaceSite is rollSite under a load that pushes nothing: that leaves the old servers soon,
// which are killed then. By themselves they linger for streams that are pushed.
func (c *cluster) replaceSite(t *tally) {
	GinkgoHelper()
	c.kubectl("-n", c.namespace, "rollout", "restart", "deployment/site")
	Eventually(func() string { return c.rollout("site") }).Should(BeEmpty())
	c.settledSite()
	old := c.ending("site")
	t.awaitLeft(old)
	for _, p := range old {
		_ = c.kill(p) // it may have ended
	}
	c.running("site")
}

// expectSplit checks that without rules clients of every door reach different pods, or
// the rest would prove nothing.
func (c *cluster) expectSplit(doors ...door) {
	GinkgoHelper()
	for _, d := range doors {
		for family := range families {
			targets := d.without(family)
			clients := c.ask(d, family, targets, 0)
			d.expectAnswers(clients, targets)
			Expect(survey.Count(clients).Split).To(BeNumerically(">", 0), "%s, IPv%d", d.kind, family)
			table.note(d, c.mode, before, family, clients)
		}
	}
}

// expectTogether checks that with rules every client of every door reaches one pod, with
// bulk transfers; that meanwhile the kubelets' probes and direct clients of the funneled
// ports work.
func (c *cluster) expectTogether(doors ...door) {
	GinkgoHelper()
	health := c.health("site")
	checks := []func(){func() { c.expectDirect() }}
	for _, d := range doors {
		checks = append(checks, func() {
			for family := range families {
				targets := d.with(family)
				clients := c.ask(d, family, targets, bulk)
				d.expectAnswers(clients, targets)
				Expect(survey.Count(clients).Split).To(BeZero(), "%s, IPv%d", d.kind, family)
				table.note(d, c.mode, with, family, clients)
			}
		})
	}
	concurrently(checks...)
	Expect(c.health("site")).To(Equal(health), "probes of the funneled ports")
}

// expectDirect checks that somebody without rules reaches each pod at its funneled
// ports, in bulk.
func (c *cluster) expectDirect() {
	GinkgoHelper()
	args := []string{"ask", "-bytes", fmt.Sprint(bulk)}
	options := len(args)
	for _, p := range c.pods("site") {
		for _, address := range p.Status.PodIPs {
			for _, target := range []string{"tcp://%s:443", "tcp://%s:8080", "udp://%s:443"} {
				host := address.IP
				if net.ParseIP(host).To4() == nil {
					host = "[" + host + "]"
				}
				args = append(args, fmt.Sprintf(target, host))
			}
		}
	}
	var clients []survey.Client
	Expect(json.Unmarshal([]byte(c.in("control", "echo", args...)), &clients)).To(Succeed())
	Expect(clients).To(HaveLen(1))
	Expect(clients[0].Errors).To(BeEmpty())
	Expect(clients[0].Answers).To(HaveLen(len(args) - options))
}

// expectBareRefuses checks what a client that funnels gets from a pod that does not
// unfunnel: a refused connection, while the through port itself works.
func (c *cluster) expectBareRefuses() {
	GinkgoHelper()
	c.settled("bare")
	var told survey.Client
	c.askPod(&told, c.pods("streamer")[0], "ask", url.Values{"target": {"tcp://10.92.0.81:80", "tcp://10.92.0.81:443"}})
	Expect(told.Answers).To(HaveLen(1))
	Expect(told.Answers).To(HaveKeyWithValue("tcp://10.92.0.81:80", HaveField("Port", 8081)))
	Expect(told.Errors).To(HaveKeyWithValue("tcp://10.92.0.81:443", ContainSubstring("connection refused")))
}
