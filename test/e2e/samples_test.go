// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// The ports of config/samples/telemetry.yaml: BGP, which the Service leads to another
// number, NetFlow, IPFIX and sFlow; and the ports where they arrive.
var (
	telemetryPorts = []string{"tcp/179", "udp/2055", "udp/4739", "udp/6343"}
	collectorPorts = []string{"1179", "2055", "4739", "6343"}
)

// expectTelemetry runs the sample as it is: each exporter, in a pod or behind the
// gateway, reaches one collector with all it sends, and is known there by its address.
func (c *cluster) expectTelemetry() {
	GinkgoHelper()
	c.kubectl("apply", "-f", "config/samples/telemetry.yaml")
	t := c.within("telemetry")
	t.balance("collector", `[{"ip": "10.94.0.3"}]`)
	t.running("collector")
	t.settled("collector")
	c.route("10.94.0.3", t.pods("collector"))
	Eventually(t.condition("exporter", "ResolvedRefs")).Should(Equal("True/ResolvedRefs"))
	t.roll("exporter") // those that started before the collectors have no rules
	for _, policy := range []string{"collector", "exporter"} {
		Eventually(t.condition(policy, "Attached")).Should(Equal("True/Attached"))
	}
	c.attachGateway(t.external("collector"))

	inside := telemetryTargets(t.service("collector").Spec.ClusterIP)
	expectOnePod(t.askPods("app=exporter", 4, inside, 0), inside, collectorPorts)
	outside := telemetryTargets("10.94.0.3")
	expectOnePod(t.askOutside(4, outside, 0), outside, collectorPorts)
}

// expectExplicitRules runs the sample that pushes TCP in TCP, in bulk, and again after the
// servers' containers were started anew in their pods, which keep their rules.
func (c *cluster) expectExplicitRules() {
	GinkgoHelper()
	c.kubectl("apply", "-f", "config/samples/web-explicit-rules.yaml")
	w := c.within("web-rules")
	apps := []string{"web", "client"}
	for _, app := range apps {
		Eventually(w.condition(app, "ResolvedRefs")).Should(Equal("True/ResolvedRefs"))
	}
	concurrently(func() { w.roll("web") }, func() { w.roll("client") }) // those that started before have no rules
	for _, app := range apps {
		Eventually(w.condition(app, "Attached")).Should(Equal("True/Attached"))
	}
	address := w.service("web").Spec.ClusterIP
	targets := []string{"tcp://" + address + ":80", "tcp://" + address + ":8080"}
	ports := []string{"8081", "8080"}
	w.settled("web")
	expectOnePod(w.askPods("app=client", 4, targets, bulk), targets, ports)
	var restarts []func()
	for _, p := range w.pods("web") {
		restarts = append(restarts, func() { w.restart(p) })
	}
	concurrently(restarts...)
	w.settled("web")
	// kube-proxy forgets affinity with pods that are not ready: clients may be split now.
	expectAnswered(w.askPods("app=client", 4, targets, bulk), targets, ports)
}

// restart kills the container of a pod and waits until it was started again, and is ready.
func (c *cluster) restart(p corev1.Pod) {
	GinkgoHelper()
	Expect(c.kill(p)).To(Succeed())
	before := p.Status.ContainerStatuses[0].RestartCount
	Eventually(func() bool {
		var now corev1.Pod
		c.read(&now, p.Name)
		return now.Status.ContainerStatuses[0].RestartCount > before && isReady(now)
	}).Should(BeTrue(), p.Name)
}

func telemetryTargets(address string) (targets []string) {
	for _, port := range telemetryPorts {
		targets = append(targets, strings.Replace(port, "/", "://"+address+":", 1))
	}
	return targets
}

// expectOnePod checks that each client was answered by one pod, at these ports, and is
// known there by its address.
func expectOnePod(clients []survey.Client, targets, ports []string) {
	GinkgoHelper()
	expectAnswered(clients, targets, ports)
	for _, client := range clients {
		Expect(client.Split()).To(BeFalse(), client.Name)
	}
}

// expectAnswered is that without the one pod.
func expectAnswered(clients []survey.Client, targets, ports []string) {
	GinkgoHelper()
	report(func() { survey.Print(os.Stdout, clients) })
	Expect(clients).NotTo(BeEmpty())
	for _, client := range clients {
		Expect(client.Errors).To(BeEmpty(), client.Name)
		expectSeen(client, targets, ports, false)
	}
}

// route leads a load balancer's address to the nodes that have these pods, as one that
// asks nodes for their health does.
func (c *cluster) route(address string, pods []corev1.Pod) {
	GinkgoHelper()
	args := []string{"exec", "-name", c.name, "control", "--", "ip", "route", "replace", address}
	nodes := map[string]bool{}
	for _, p := range pods {
		if !nodes[p.Status.HostIP] {
			nodes[p.Status.HostIP] = true
			args = append(args, "nexthop", "via", p.Status.HostIP)
		}
	}
	mustRun(program("cluster"), args...)
}
