// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math/rand/v2"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/sfunnel-io/funnel-operator/test/faults"
)

// outageVariable says how long the API server is away, in seconds.
const outageVariable = "FAULTS_OUTAGE"

// number is that of a variable of the environment, where it is set.
func number(variable string, otherwise uint64) uint64 {
	GinkgoHelper()
	n, err := faults.Number(variable, otherwise)
	Expect(err).NotTo(HaveOccurred())
	return n
}

// One cluster, on which one thing after the other goes wrong while four clients keep up
// their load. What is lost whoever made the rules is shown by the same fault without us.
var _ = Describe("With faults all around, and under load", Ordered, Label("faults"), func() {
	var c *cluster
	var load *tally
	var chance *rand.Rand
	var before release
	well := func() { c.well(siteApps...) }
	runs := func() {
		for _, app := range siteApps {
			c.running(app)
		}
		c.settledSite()
	}

	BeforeAll(func() {
		seed := number(faults.SeedVariable, rand.Uint64())
		fmt.Printf("%s=%d\n", faults.SeedVariable, seed)
		chance = rand.New(rand.NewPCG(seed, 0))
		phase("build the commit before")
		var images []string
		before, images = buildCommitBefore()
		c = startCluster(images...)
		load = c.startTally()
		c.deploySite()
	})

	JustAfterEach(func() { c.describeFailed(load) })

	It("messages are lost without us, too: a rollout, a node that reboots", func() {
		c.suffer(load, &trial{fault: "without us: servers and clients are rolled", without: true}, runs, func() int {
			c.rollSite()
			c.roll("loaded")
			return 1
		})
		node, excused := c.sparing(load)
		c.suffer(load, &trial{fault: "without us: a node reboots", without: true, excused: excused}, runs, func() int {
			c.reboot(node, siteApps...)
			return 1
		})
	})

	It("policies come, servers get rules, and then clients", func() {
		phase("install the operator of the commit before")
		c.install(before)
		c.suffer(load, &trial{fault: "policies come, servers and clients are rolled"}, well, func() int {
			c.applySite()
			c.rollSite()
			for _, policy := range []string{"client", "loaded"} {
				Eventually(c.condition(policy, "ResolvedRefs")).Should(Equal("True/ResolvedRefs"))
			}
			concurrently(func() { c.roll("client") }, func() { c.roll("loaded") })
			return 1
		})
	})

	It("the operator is upgraded, and no pod notices", func() {
		lives := c.lives()
		c.suffer(load, &trial{fault: "the operator is upgraded from the commit before"}, well, func() int {
			c.installOperator()
			return 1
		})
		Expect(c.lives()).To(Equal(lives))
	})

	It("a policy is deleted and made again", func() {
		c.suffer(load, &trial{fault: "policies are deleted and made again"}, well, func() int {
			for range 5 {
				c.remake(func() {})
			}
			return 5
		})
	})

	It("two policies fight over pods", func() {
		c.suffer(load, &trial{fault: "two policies fight over pods that are rolled"}, well, func() int {
			c.fight()
			return 1
		})
	})

	It("rules are edited by hand", func() {
		c.suffer(load, &trial{fault: "rules are edited by hand"}, well, func() int {
			for range 5 {
				c.meddle("site")
			}
			return 5
		})
	})

	It("the leader is lost", func() {
		c.suffer(load, &trial{fault: "the leader's pod is deleted"}, well, func() int { c.loseLeader(false); return 1 })
		c.suffer(load, &trial{fault: "the leader is killed"}, well, func() int { c.loseLeader(true); return 1 })
	})

	if injectsByItself() {
		It("no manager runs", func() {
			c.suffer(load, &trial{fault: "managers are away while clients are rolled"}, well, func() int {
				c.withoutManager(func() { c.roll("loaded") })
				return 1
			})
		})
	} else {
		It("the certificate is replaced", func() {
			c.suffer(load, &trial{fault: "the certificate is spoiled while clients are rolled"}, well, func() int {
				return meanwhile(c.spoilCertificate, func() { c.roll("loaded") })
			})
			c.suffer(load, &trial{fault: "the certificate is renewed in order while clients are rolled"}, well, func() int {
				concurrently(c.renewCertificate, func() { c.roll("loaded") })
				return 1
			})
		})

		It("the webhook can't be reached", func() {
			c.suffer(load, &trial{fault: "the webhook is away while clients are rolled"}, well, func() int {
				c.loseWebhook()
				return 1
			})
			c.suffer(load, &trial{fault: "all managers hang while clients are rolled"}, well, func() int {
				c.hangManagers()
				return 1
			})
		})
	}

	It("etcd and the API server are away", func() {
		c.suffer(load, &trial{fault: "etcd is killed"}, well, func() int {
			c.outage("etcd", 0)
			return 1
		})
		away := time.Duration(number(outageVariable, 60)) * time.Second
		c.suffer(load, &trial{fault: fmt.Sprint("the API server is away for ", away)}, well, func() int {
			c.outage("kube-apiserver", away)
			return 1
		})
	})

	It("a node reboots while its pods' policies don't exist", func() {
		node, excused := c.sparing(load)
		c.suffer(load, &trial{fault: "a node reboots while its pods' policies don't exist", excused: excused}, well, func() int {
			c.remake(func() { c.reboot(node, siteApps...) })
			return 1
		})
	})

	It("managers are killed at random moments", func() {
		times := int(number(faults.TimesVariable, 100))
		c.suffer(load, &trial{fault: "a manager is killed while servers and clients are rolled"}, well, func() int {
			c.killManagers(times, chance, func() {
				c.rollSite()
				c.roll("loaded")
			})
			return times
		})
	})

	It("all pods are rolled while rules change", func() {
		c.suffer(load, &trial{fault: fmt.Sprint("rules change while ", manyPods, " pods are rolled")}, well, c.rollMany)
	})

	It("the operator is removed, and no pod notices", func() {
		lives, said := c.lives(), ""
		c.suffer(load, &trial{fault: "the operator is removed"}, func() { c.forgotten(said) }, func() int {
			said = c.undeploy()
			return 1
		})
		Expect(c.lives()).To(Equal(lives))
	})

	AfterEach(func() {
		if c.injected("client") > 0 {
			c.expectNoneSplit()
		}
	})
})
