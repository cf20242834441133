// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// A nodeDoor is a node and the NodePort on it that the gateway's rules funnel through.
type nodeDoor struct {
	node    map[int]string // by family
	through string
	masks   bool // the node puts its own address in place of the client's
}

// Both nodes with externalTrafficPolicy Local, and the one with Cluster. Clients dial
// the containers' ports at a node: nothing listens there, so an answer is a funneled
// one.
var nodeDoors = []nodeDoor{
	{map[int]string{4: "10.90.0.11", 6: "fd90::b"}, "30080", false},
	{map[int]string{4: "10.90.0.12", 6: "fd90::c"}, "30080", false},
	{map[int]string{4: "10.90.0.13", 6: "fd90::d"}, "30081", true},
}

// nodeRules are what a gateway's administrator writes for NodePorts.
func nodeRules() string {
	var rules strings.Builder
	for _, door := range nodeDoors {
		for _, address := range door.node {
			fmt.Fprintf(&rules, "daddr %s tcp dport { 443, 8080 } funnel tcp dport %s inline\n", address, door.through)
		}
	}
	return rules.String()
}

// expectNodePorts checks that clients outside reach one pod through each NodePort with
// bulk transfers, whether or not the node masquerades, and that the policy says so.
func expectNodePorts(c *cluster) {
	GinkgoHelper()
	var checks []func()
	for _, door := range nodeDoors {
		for _, family := range []int{4, 6} {
			checks = append(checks, func() { expectNodePort(c, door, family) })
		}
	}
	concurrently(checks...)
	Eventually(c.condition("shop", "SourceIPPreserved")).Should(Equal("False/TrafficPolicyCluster"))
	Expect(c.message("shop", "SourceIPPreserved")).To(ContainSubstring("shop-cluster"))
}

func expectNodePort(c *cluster, door nodeDoor, family int) {
	GinkgoHelper()
	args := []string{"ask", "-source", strings.Join(outsideSources(family), ","), "-bytes", fmt.Sprint(nodePortBulk)}
	for _, port := range []string{door.through, "443", "8080"} {
		args = append(args, "tcp://"+net.JoinHostPort(door.node[family], port))
	}
	var clients []survey.Client
	Expect(json.Unmarshal([]byte(c.in("outside", "echo", args...)), &clients)).To(Succeed())
	for i := range clients {
		clients[i].Address = clients[i].Name
	}
	survey.Print(os.Stdout, clients)
	Expect(survey.Count(clients)).To(Equal(survey.Counts{Clients: outsideClients}))
	if door.masks {
		expectPorts(clients)
		expectMasked(clients)
	} else {
		expectPreserved(clients)
	}
}

// expectMasked checks that no server saw a client's own address, or the test would
// not be about masquerading.
func expectMasked(clients []survey.Client) {
	GinkgoHelper()
	for _, client := range clients {
		for target, answer := range client.Answers {
			Expect(answer.Seen).NotTo(ContainSubstring(client.Address), "%s of %s at %s", target, client.Name, answer.Pod)
		}
	}
}
