// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// The demo's claims, in each of kube-proxy's modes: first without us, or the rest
// would prove nothing.
var _ = Describe("A client's flows to four ports of a Service", func() {
	for _, mode := range []string{"nftables", "iptables"} {
		Context("with kube-proxy in mode "+mode, Ordered, func() {
			var c *cluster
			var lost string // the pod that streams were answered by

			BeforeAll(func() {
				phase(mode + ": start a cluster of 3 nodes")
				c = startCluster(mode)
				phase(mode + ": deploy 4 servers and 12 clients")
				c.deployWorkload()
			})

			JustAfterEach(func() {
				if CurrentSpecReport().Failed() {
					c.describe()
				}
			})

			It("reach different pods without us", func() {
				phase(mode + ": ask everybody, without us")
				clients := c.survey()
				expectSplit(clients)
				expectPreserved(clients)
			})

			It("reach different pods with the operator and no policy", func() {
				phase(mode + ": install the operator")
				c.installOperator()
				phase(mode + ": roll the servers without policies")
				c.rollServers()
				Expect(c.injected("echo")).To(BeEmpty())
				expectSplit(c.survey())
			})

			It("reach the same pod with policies", func() {
				phase(mode + ": apply policies")
				c.kubectl("apply", "-f", "hack/demo/policies.yaml")
				c.applyShop()
				for _, name := range []string{"echo", "client"} {
					Eventually(c.condition(name, "Ready")).Should(Equal("True/Ready"))
					Eventually(c.condition(name, "Attached")).Should(HavePrefix("False/"), "the pods are older than the policy")
				}
				phase(mode + ": roll with policies")
				c.roll()
				Expect(c.injected("echo")).To(HaveLen(4))
				Expect(c.injected("client")).To(HaveLen(podClients))
				c.attachGateway("client", "shop-client")

				phase(mode + ": ask everybody, with us")
				expectTogether(c.survey())
			})

			It("reach the same pod inline, in bulk, while probes and direct clients work", func() {
				phase(mode + ": bulk transfers inline, IPv4 and IPv6")
				expectInline(c)
			})

			It("lose the pod that answers them", func() {
				phase(mode + ": streams lose their pod")
				lost = c.losePod()
			})

			It("are seen in the policies' status", func() {
				phase(mode + ": look at status")
				expectStatus(c)
			})

			It("are not touched by a policy that can't be carried out", func() {
				phase(mode + ": policies with faults")
				expectRefused(c)
				expectNamed(c)
				expectAttachFailed(c)
				expectLastGoodRules(c)
				expectTogether(c.survey())
			})

			It("follow to a living pod, and don't without moving ports", func() {
				phase(mode + ": wait for the streams")
				expectFollowed(c, lost)
			})

			It("reach different pods when the policies are gone", func() {
				phase(mode + ": delete policies and roll")
				c.in("gateway", "attacher", "detach")
				c.kubectl("-n", namespace, "delete", "fp", "--all")
				c.roll()
				Expect(c.injected("echo")).To(BeEmpty())
				phase(mode + ": ask everybody, without us again")
				expectSplit(c.survey())
				expectSplit(c.ask(survey.Question{Service: "shop", Family: 4}))
				expectSplit(c.ask(survey.Question{Service: "shop", Family: 6}))
			})
		})
	}
})

// injected lists the pods of an app that carry our init container.
func (c *cluster) injected(app string) []string {
	GinkgoHelper()
	var names []string
	for _, p := range c.pods(app) {
		for _, container := range p.Spec.InitContainers {
			if container.Name == "sfunnel-attach" {
				Expect(p.Metadata.Labels).To(HaveKeyWithValue("sfunnel.io/injected", "true"))
				Expect(container.Image).To(Equal(built.attacher))
				names = append(names, p.Metadata.Name)
			}
		}
	}
	return names
}

// expectSplit checks that all were answered and that some reached different pods.
func expectSplit(clients []survey.Client) {
	GinkgoHelper()
	Expect(survey.Count(clients)).To(And(HaveField("Split", BeNumerically(">", 0)), HaveField("Mute", 0)))
}

// expectTogether checks that each client reached one pod only, with its own address.
func expectTogether(clients []survey.Client) {
	GinkgoHelper()
	Expect(survey.Count(clients)).To(Equal(survey.Counts{Clients: podClients + outsideClients}))
	expectPreserved(clients)
}

// expectPreserved checks that every server saw the client's own address, and that
// every question reached the port that it was for.
func expectPreserved(clients []survey.Client) {
	GinkgoHelper()
	for _, client := range clients {
		for target, answer := range client.Answers {
			host, _, err := net.SplitHostPort(answer.Seen)
			Expect(err).NotTo(HaveOccurred())
			Expect(host).To(Equal(client.Address), "%s of %s at %s", target, client.Name, answer.Pod)
		}
	}
	expectPorts(clients)
}

// expectPorts checks that every question reached the port that it was for.
func expectPorts(clients []survey.Client) {
	GinkgoHelper()
	for _, client := range clients {
		for target, answer := range client.Answers {
			port := target[strings.LastIndexByte(target, ':')+1:]
			switch port {
			case "80", "30080", "30081": // those of one with another target port
				port = "8081"
			}
			Expect(fmt.Sprint(answer.Port)).To(Equal(port), "%s of %s at %s", target, client.Name, answer.Pod)
		}
	}
}

// expectStatus checks the conditions, the counts and the columns of both policies
// while all their pods run with current rules.
func expectStatus(c *cluster) {
	GinkgoHelper()
	for name, conditions := range map[string]map[string]string{
		"echo": {
			"Accepted": "True/Accepted", "ResolvedRefs": "True/ResolvedRefs", "Programmed": "True/Programmed",
			"SessionAffinity": "True/ClientIP", "SourceIPPreserved": "True/SourceIPPreserved",
			"Attached": "True/Attached", "Ready": "True/Ready",
			// The wire's MTU is 1500 and so is the pods': no room for 20 bytes more.
			"MTUWarning": "True/InsufficientHeadroom",
		},
		"client": {
			"Accepted": "True/Accepted", "ResolvedRefs": "True/ResolvedRefs", "Programmed": "True/Programmed",
			"Attached": "True/Attached", "Ready": "True/Ready",
		},
	} {
		for kind, want := range conditions {
			Eventually(c.condition(name, kind)).Should(Equal(want), "%s of policy %s", kind, name)
		}
	}
	Expect(c.policy("client").Status.Pods).To(And(
		HaveField("Matched", BeEquivalentTo(podClients)), HaveField("Attached", BeEquivalentTo(podClients))))

	table := strings.Split(c.kubectl("-n", namespace, "get", "fp", "client", "echo"), "\n")
	Expect(strings.Fields(table[0])).To(Equal([]string{"NAME", "READY", "REASON", "PODS", "ATTACHED", "MTU", "AGE"}))
	Expect(table[1:]).To(HaveLen(2))
	Expect(strings.Fields(table[1])).To(HaveExactElements("client", "True", "Ready", "12", "12", "1500", Not(BeEmpty())))
	Expect(strings.Fields(table[2])).To(HaveExactElements("echo", "True", "Ready", "4", "4", "1500", Not(BeEmpty())))
}
