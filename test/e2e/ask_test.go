// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// A door is where clients reach the pods of site.
type door struct {
	kind    string         // the type of Service
	address map[int]string // by family
	inside  bool           // for pods; or for clients outside
	masks   bool           // the node puts its own address in place of the client's
	listed  [4]string      // the Service's ports, in the order of containerPorts
}

// containerPorts are those that site listens on: through the first, with another number
// at the Service, travel all others.
var (
	containerPorts = [4]string{"8081", "443", "8080", "443"}
	protocols      = [4]string{"tcp", "tcp", "tcp", "udp"}
)

// The doors of site. Each node is the door of one Service: clients dial the
// containers' ports there, which tell no Service from the other.
var doors = []door{
	{"ClusterIP", map[int]string{4: "10.92.0.80", 6: "fd92::80"}, true, false, [4]string{"80", "443", "8080", "443"}},
	{"LoadBalancer", map[int]string{4: "10.94.0.2", 6: "fd94::2"}, false, false, [4]string{"80", "443", "8080", "443"}},
	{"NodePort, Local", map[int]string{4: "10.90.0.11", 6: "fd90::b"}, false, false, [4]string{"30080", "30443", "30800", "30444"}},
	{"NodePort, Cluster", map[int]string{4: "10.90.0.13", 6: "fd90::d"}, false, true, [4]string{"31080", "31443", "31800", "31444"}},
}

// without are the targets of a client without rules: the Service's ports.
func (d door) without(family int) (targets []string) {
	for i, port := range d.listed {
		targets = append(targets, d.target(family, i, port))
	}
	return targets
}

// with are the targets of a client that is funneled: the containers' ports, but for the
// one that everything travels through.
func (d door) with(family int) (targets []string) {
	for i, port := range containerPorts {
		if i == 0 {
			port = d.listed[0]
		}
		targets = append(targets, d.target(family, i, port))
	}
	return targets
}

func (d door) target(family, i int, port string) string {
	return protocols[i] + "://" + net.JoinHostPort(d.address[family], port)
}

// ask lets all clients of a door ask each target, one after the other, with connections
// that carry that many bytes both ways, and prints the table.
func (c *cluster) ask(d door, family int, targets []string, size int64) []survey.Client {
	GinkgoHelper()
	var clients []survey.Client
	if d.inside {
		clients = c.askPods("role=client", family, targets, size)
		Expect(clients).To(HaveLen(podClients))
	} else {
		clients = c.askOutside(family, targets, size)
		Expect(clients).To(HaveLen(outsideClients))
	}
	report(func() { survey.Print(os.Stdout, clients) })
	return clients
}

// askPods lets the pods that a label selects ask.
func (c *cluster) askPods(selector string, family int, targets []string, size int64) []survey.Client {
	GinkgoHelper()
	clients, err := survey.Ask(GinkgoT().Context(), survey.Question{
		Kubectl: []string{built.kubectl, "--kubeconfig", c.kubeconfig}, Namespace: c.namespace,
		Selector: selector, Port: clientPort, Family: family, Targets: targets, Bytes: size,
	})
	Expect(err).NotTo(HaveOccurred())
	return clients
}

// askOutside lets the clients outside ask.
func (c *cluster) askOutside(family int, targets []string, size int64) []survey.Client {
	GinkgoHelper()
	args := []string{"ask", "-source", strings.Join(outsideSources(family), ","), "-bytes", fmt.Sprint(size)}
	var clients []survey.Client
	Expect(json.Unmarshal([]byte(c.in("outside", "echo", append(args, targets...)...)), &clients)).To(Succeed())
	for i := range clients {
		clients[i].Address = clients[i].Name
	}
	return clients
}

// expectUnanswered checks that a pod has no answer from a target, to a datagram of that length
// where it is not 0. It asks twice: one question alone may be lost by chance.
func (c *cluster) expectUnanswered(p corev1.Pod, target string, length int) {
	GinkgoHelper()
	var told survey.Client
	c.askPod(&told, p, "ask", url.Values{"target": {target}, "datagram": {fmt.Sprint(length)}, "tries": {"2"}})
	Expect(told.Answers).To(BeEmpty(), "%s", p.Name)
	Expect(told.Errors).To(HaveKey(target), "%+v", told)
}

// expectAnswers checks that every client was answered on all ports, each question at the
// port that it was for; and that the servers saw the clients' own addresses, or, where
// the node masquerades, none of them: the test would not be about masquerading.
func (d door) expectAnswers(clients []survey.Client, targets []string) {
	GinkgoHelper()
	for _, client := range clients {
		Expect(client.Errors).To(BeEmpty(), client.Name)
		expectSeen(client, targets, containerPorts[:], d.masks)
	}
}

// expectSeen checks at which port each question arrived, and from whom.
func expectSeen(client survey.Client, targets, ports []string, masked bool) {
	GinkgoHelper()
	for i, target := range targets {
		answer := client.Answers[target]
		Expect(fmt.Sprint(answer.Port)).To(Equal(ports[i]), "%s of %s at %s", target, client.Name, answer.Pod)
		host, _, err := net.SplitHostPort(answer.Seen)
		Expect(err).NotTo(HaveOccurred())
		if masked {
			Expect(host).NotTo(Equal(client.Address), "%s of %s at %s", target, client.Name, answer.Pod)
		} else {
			Expect(host).To(Equal(client.Address), "%s of %s at %s", target, client.Name, answer.Pod)
		}
	}
}
