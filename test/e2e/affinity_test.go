// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"maps"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// affinityTimeout is that of the Service brief.
const affinityTimeout = 5 * time.Second

// expectAffinityTimeout checks how affinity ends: new connections refresh it, so that a
// client stays longer than the timeout; and it is gone when there were none for that
// long. A pod that goes meanwhile would move its clients, so it waits for those first.
func (c *cluster) expectAffinityTimeout() {
	GinkgoHelper()
	c.running("site")
	c.settled("brief")
	target := "tcp://" + c.service("brief").Spec.ClusterIP + ":80"
	asked := time.Now()
	first := c.whoAnswers(target)
	for refreshed := time.Duration(0); refreshed < 2*affinityTimeout; {
		time.Sleep(affinityTimeout / 5)
		began := time.Now()
		now := c.whoAnswers(target)
		// From before anybody asked to after everybody has: nobody's pause is longer.
		gap := time.Since(asked)
		if asked = began; gap >= affinityTimeout {
			first, refreshed = now, 0 // too slow here to refresh anything
			continue
		}
		Expect(now).To(Equal(first), "connections within the timeout stay on their pod")
		refreshed += gap
	}
	time.Sleep(affinityTimeout + affinityTimeout/5)
	Expect(maps.Equal(c.whoAnswers(target), first)).To(BeFalse(), "all of %d clients stayed on their pod after the timeout", len(first))
}

// whoAnswers is the pod that answers each client pod at a target.
func (c *cluster) whoAnswers(target string) map[string]string {
	GinkgoHelper()
	pods := map[string]string{}
	for _, client := range c.askPods("role=client", 4, []string{target}, 0) {
		Expect(client.Pods()).To(HaveLen(1), "%+v", client)
		pods[client.Name] = client.Pods()[0]
	}
	return pods
}
