// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"os"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// gateAddress is the external IP of the Service gate.
const gateAddress = "10.94.0.4"

// expectExternalIP checks that clients outside reach one pod through an external IP, with
// what is funneled through its UDP port, and then through its TCP port.
func (c *cluster) expectExternalIP() {
	GinkgoHelper()
	c.settled("gate")
	c.route(gateAddress, c.pods("gate"))
	at := func(protocol, port string) string { return protocol + "://" + net.JoinHostPort(gateAddress, port) }
	for policy, through := range map[string]struct{ target, port string }{
		"gate-udp": {at("udp", "81"), gateUDP},
		"gate-tcp": {at("tcp", "80"), gateTCP},
	} {
		c.attachGateway(c.external(policy))
		targets := []string{through.target, at("tcp", listed), at("udp", listed)}
		clients := c.askOutside(4, targets, bulk)
		report(func() { survey.Print(os.Stdout, clients) })
		Expect(clients).To(HaveLen(outsideClients))
		pods := map[string]bool{}
		for _, client := range clients {
			Expect(client.Errors).To(BeEmpty(), client.Name)
			Expect(client.Split()).To(BeFalse(), client.Name)
			expectSeen(client, targets, []string{through.port, listed, listed}, false)
			pods[client.Pods()[0]] = true
		}
		Expect(len(pods)).To(BeNumerically(">", 1), "%s: all clients have one pod", policy)
	}
	c.attachGateway()
	c.kubectl("delete", "-f", "test/e2e/testdata/gate.yaml", "--wait=false")
}
