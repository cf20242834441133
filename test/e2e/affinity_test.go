// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"maps"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// affinityTimeout is that of the Service brief.
const affinityTimeout = 5 * time.Second

// expectAffinityTimeout checks how affinity ends: new connections refresh it, so that a
// client stays longer than the timeout; and it is gone when there were none for that
// long.
func expectAffinityTimeout(c *cluster) {
	GinkgoHelper()
	first, asked := c.whoAnswers("brief"), time.Now()
	for refreshed := time.Duration(0); refreshed < 2*affinityTimeout; {
		time.Sleep(affinityTimeout / 5)
		now := c.whoAnswers("brief")
		gap := time.Since(asked)
		if asked = time.Now(); gap >= affinityTimeout {
			first, refreshed = now, 0 // too slow here to refresh anything
			continue
		}
		Expect(now).To(Equal(first), "connections within the timeout stay on their pod")
		refreshed += gap
	}
	time.Sleep(affinityTimeout + affinityTimeout/5)
	Expect(maps.Equal(c.whoAnswers("brief"), first)).To(BeFalse(), "all of %d clients stayed on their pod after the timeout", len(first))
}

// whoAnswers is the pod that answers each client pod of a Service with one port.
func (c *cluster) whoAnswers(service string) map[string]string {
	GinkgoHelper()
	clients, err := survey.Ask(GinkgoT().Context(), c.question(survey.Question{Service: service}))
	Expect(err).NotTo(HaveOccurred())
	pods := map[string]string{}
	for _, client := range clients {
		Expect(client.Pods()).To(HaveLen(1), "%+v", client)
		pods[client.Name] = client.Pods()[0]
	}
	return pods
}
