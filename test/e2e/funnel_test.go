// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	. "github.com/onsi/ginkgo/v2"
)

// One cluster, whose kube-proxies change their mode, so that pods are made once: first
// without us in both modes, or the rest would prove nothing; then the rules come, both
// modes again, and the rules go.
var _ = Describe("A client's flows to four ports of a Service", Ordered, func() {
	var c *cluster
	var load *tally
	var lost string // the pod that streams were answered by

	BeforeAll(func() {
		c = startCluster()
		load = c.startTally()
		c.deploySite()
	})

	JustAfterEach(func() { c.describeFailed(load) })

	It("reach different pods without us (nftables)", func() {
		phase("nftables: ask everybody, without us")
		c.expectSplit(doors...)
	})

	It("reach different pods without us (iptables)", func() {
		phase("iptables: change kube-proxy's mode")
		c.switchProxy("iptables", siteServices...)
		phase("iptables: ask everybody, without us")
		c.expectSplit(doors...)
	})

	It("lose no message while servers get rules, and then clients", func() {
		phase("install the operator")
		c.installOperator()
		phase("apply policies")
		c.introduce(load)
	})

	It("lose no message while the manager that reconciles ends, and the next one finds policies made anew", func() {
		well := func() { c.well(siteApps...) }
		c.suffer(load, &trial{fault: "the leader's pod is deleted, then policies, which are made again"}, well, func() int {
			c.loseLeader(false)
			c.remake(func() {})
			return 1
		})
	})

	It("reach the same pod with policies, in bulk, while probes and direct clients work (iptables)", func() {
		phase("iptables: ask everybody in bulk, with us")
		c.attachGateway()
		c.expectTogether(doors...)
	})

	It("lose the pod that answers them (iptables)", func() {
		phase("iptables: streams lose their pod")
		c.addClients()
		c.startStreamer()
		lost = c.losePod()
	})

	It("are seen in the policies' status, have room for headers, and are one pod's in the samples", func() {
		phase("status, faults, room for headers, the samples")
		concurrently(
			c.expectNotAccepted,
			c.expectNamed,
			c.expectAttachFailed,
			c.expectBareRefuses,
			// The status first: the site's clients rolled under a policy that had found them
			// uninjected, and nothing else may make it look again.
			func() { c.running("site"); c.expectStatus(); c.expectLastGoodRules() },
			c.expectReserve,
			c.expectExplicitRules,
			func() {
				concurrently(c.expectTelemetry, c.expectForgedDropped)
				c.expectExternalIP()
			},
		)
	})

	It("follow to a living pod, and don't without moving ports (iptables)", func() {
		phase("iptables: wait for the streams")
		c.expectFollowed(lost)
		c.settledSite()
		c.expectTogether(doors[0])
	})

	// With kube-proxy's mode the nodes forget what connections led to, so that only streams
	// are led to the pod that is lost then.
	It("lose the pod that answers them (nftables)", func() {
		phase("nftables: change kube-proxy's mode")
		c.switchProxy("nftables", siteServices...)
		phase("nftables: streams lose their pod")
		c.roll("streamer") // other streams, from another address
		lost = c.losePod()
		c.running("site")
		c.settledSite()
	})

	It("reach the same pod with policies, in bulk, while probes and direct clients work (nftables)", func() {
		phase("nftables: ask everybody in bulk, with us")
		c.expectTogether(doors...)
	})

	It("follow to a living pod, and don't without moving ports (nftables)", func() {
		phase("nftables: wait for the streams")
		concurrently(func() { c.expectFollowed(lost) }, c.expectAffinityTimeout)
	})

	It("lose no message while clients lose their rules, and then servers; are refused in the other order", func() {
		phase("nftables: roll clients without policies, under load")
		c.removeClients(load)
		c.removeBackends(load)
	})

	It("reach different pods when the policies are gone", func() {
		phase("nftables: ask everybody outside, without us again")
		c.in("gateway", "attacher", "detach")
		c.expectSplit(doors[1])
	})
})
