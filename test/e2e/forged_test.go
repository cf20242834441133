// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"net/url"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// The ports of the pod of gate: those that everything travels through, the one inside that
// its policies list, and one that they don't.
const (
	gateTCP, gateUDP   = "8081", "8082"
	listed, unlisted   = "443", "9100"
	networkPolicyTable = "network-policy"
)

const gatePods = 3

// throughOf is the port through which each kind of forged packet travels.
var throughOf = map[string]string{
	"udp-in-tcp": gateTCP, "tcp-in-tcp": gateTCP, "inline": gateTCP,
	"tcp-in-udp": gateUDP, "udp-in-udp": gateUDP,
}

// expectForgedDropped checks that somebody who may send to the through ports only, as a
// NetworkPolicy says, reaches by forged packets what the policies list, and nothing else.
func (c *cluster) expectForgedDropped() {
	GinkgoHelper()
	c.kubectl("apply", "-f", "test/e2e/testdata/gate.yaml")
	concurrently(func() { c.running("gate") }, func() { c.running("forger") })
	Expect(c.injected("gate")).To(Equal(gatePods))
	gate, forger := c.pods("gate")[0], c.pods("forger")[0]
	c.permit(forger, gate, map[string]string{"tcp": gateTCP, "udp": gateUDP})
	var checks []func()
	for i, address := range gate.Status.PodIPs {
		checks = append(checks, func() { c.expectOnlyThrough(forger, address.IP) })
		for kind, through := range throughOf {
			checks = append(checks, func() {
				var answered []int
				c.askPod(&answered, forger, "forge", url.Values{
					"kind": {kind}, "host": {address.IP}, "through": {through}, "port": {unlisted, listed}})
				Expect(fmt.Sprint(answered)).To(Equal("["+listed+"]"), "ports inside that %s reached (address %d)", kind, i)
			})
		}
	}
	concurrently(checks...)
}

// permit lets one pod send to these ports of another, by protocol, and to no others. The
// cluster's network plugin enforces no NetworkPolicy: this does what those do that translate
// them to packet filters on the pod's node, behind the translation of Services.
func (c *cluster) permit(from, to corev1.Pod, ports map[string]string) {
	GinkgoHelper()
	const chain = "add chain inet %[1]s forward { type filter hook forward priority 0; }\n"
	script := fmt.Sprintf("add table inet %[1]s\n"+chain, networkPolicyTable)
	for i, keyword := range []string{"ip", "ip6"} {
		pair := fmt.Sprintf("add rule inet %s forward %s saddr %s %s daddr %s ", networkPolicyTable,
			keyword, from.Status.PodIPs[i].IP, keyword, to.Status.PodIPs[i].IP)
		for protocol, port := range ports {
			script += pair + protocol + " dport " + port + " accept\n"
		}
		script += pair + "meta l4proto { tcp, udp } counter drop\n"
	}
	mustRun(program("cluster"), "exec", "-name", c.name, to.Spec.NodeName, "--", "nft", script)
}

// expectOnlyThrough checks that the way to other ports is closed: what forged packets reach
// they reach inside.
func (c *cluster) expectOnlyThrough(forger corev1.Pod, address string) {
	GinkgoHelper()
	at := func(protocol, port string) string { return protocol + "://" + net.JoinHostPort(address, port) }
	open := at("tcp", gateTCP)
	closed := []string{at("tcp", listed), at("udp", listed), at("tcp", unlisted), at("udp", unlisted)}
	var told survey.Client
	c.askPod(&told, forger, "ask", url.Values{"target": {open}})
	Expect(told.Answers).To(HaveKey(open), "%+v", told)
	checks := make([]func(), len(closed))
	for i, target := range closed {
		checks[i] = func() { c.expectUnanswered(forger, target, 0) }
	}
	concurrently(checks...)
}
