// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// Where the workloads live, the addresses that the load balancer gives to Services,
// and how many clients there are.
const (
	namespace      = "demo"
	balancer       = `[{"ip": "10.94.0.1"}]`
	shopBalancer   = `[{"ip": "10.94.0.2"}, {"ip": "fd94::2"}]`
	podClients     = 12
	outsideClients = 12
	clientPort     = 7070 // where a client pod takes questions
)

// outsideTemplate has the addresses of the clients outside, by family.
var outsideTemplate = map[int]string{4: "10.93.0.%d", 6: "fd93::%x"}

// A cluster is one that this suite started.
type cluster struct {
	name       string
	kubeconfig string
}

// startCluster starts three nodes and installs nothing.
func startCluster(proxyMode string) *cluster {
	GinkgoHelper()
	c := &cluster{name: "e2e-" + proxyMode}
	DeferCleanup(func() {
		phase("take the cluster down")
		mustRun(program("cluster"), "down", "-name", c.name)
	})
	mustRun(program("cluster"), "up", "-name", c.name, "-nodes", "3", "-proxy-mode", proxyMode, "-families", "4,6",
		"-outside", fmt.Sprint(outsideClients), image("pause"), image("echo"), image("manager"), image("attacher"))
	c.kubeconfig = strings.TrimSpace(mustRun(program("cluster"), "kubeconfig", "-name", c.name))
	return c
}

// kubectl runs kubectl, which must succeed, and returns what it prints.
func (c *cluster) kubectl(args ...string) string {
	GinkgoHelper()
	output, err := c.tryKubectl("", args...)
	Expect(err).NotTo(HaveOccurred())
	return strings.TrimSpace(output)
}

// tryKubectl runs kubectl with an object on its standard input.
func (c *cluster) tryKubectl(object string, args ...string) (string, error) {
	return runWith([]string{"KUBECONFIG=" + c.kubeconfig}, object, built.kubectl, args...)
}

// apply applies objects from text, which must succeed.
func (c *cluster) apply(objects string) {
	GinkgoHelper()
	_, err := c.tryKubectl(objects, "apply", "-f", "-")
	Expect(err).NotTo(HaveOccurred())
}

// describe puts into the report what somebody would look at first.
func (c *cluster) describe() {
	for _, args := range [][]string{
		{"get", "pods", "--all-namespaces", "-o", "wide"},
		{"get", "events", "--all-namespaces", "--field-selector=type!=Normal"},
		{"-n", namespace, "get", "fp", "-o", "yaml"},
		{"-n", "sfunnel-system", "logs", "-l", "app.kubernetes.io/component=manager", "--prefix", "--tail=40"},
		{"-n", namespace, "logs", "-l", "sfunnel.io/injected=true", "-c", "sfunnel-attach", "--prefix", "--tail=2"},
	} {
		output, _ := c.tryKubectl("", args...)
		fmt.Fprintln(GinkgoWriter, output)
	}
}

// deployWorkload deploys the demo's servers and clients, with the load balancer's
// part played by hand.
func (c *cluster) deployWorkload() {
	GinkgoHelper()
	c.kubectl("apply", "-f", "hack/demo/workload.yaml")
	c.balance("echo", balancer)
	c.settle()
}

// balance plays the load balancer's part for a Service: it gives it addresses, which
// are routed to the nodes already.
func (c *cluster) balance(service, ingress string) {
	GinkgoHelper()
	c.kubectl("-n", namespace, "patch", "service", service, "--subresource=status", "-p",
		`{"status": {"loadBalancer": {"ingress": `+ingress+`}}}`)
}

// installOperator installs what "make deploy" installs.
func (c *cluster) installOperator() {
	GinkgoHelper()
	c.apply(mustRun("hack/render.sh", built.manager, built.attacher))
	c.kubectl("-n", "sfunnel-system", "rollout", "status", "deployment/sfunnel-manager", "--timeout="+soon.String())
}

// roll replaces the pods of the workload, servers first: a client that funnels needs
// a server that unfunnels.
func (c *cluster) roll() {
	GinkgoHelper()
	c.rollServers()
	c.kubectl("-n", namespace, "rollout", "restart", "deployment/client")
	c.running("client", podClients)
}

func (c *cluster) rollServers() {
	GinkgoHelper()
	c.kubectl("-n", namespace, "rollout", "restart", "deployment/echo")
	c.serving("echo", 4)
}

// settle waits until the workload is as wanted, old pods are gone and every node's
// kube-proxy knows the new ones.
func (c *cluster) settle() {
	GinkgoHelper()
	c.running("client", podClients)
	c.serving("echo", 4)
}

// running waits until an app's pods are ready and old ones are gone.
func (c *cluster) running(app string, replicas int) {
	GinkgoHelper()
	c.kubectl("-n", namespace, "rollout", "status", "deployment/"+app, "--timeout="+soon.String())
	Eventually(func() []pod { return c.pods(app) }).Should(HaveLen(replicas))
}

// serving waits until, besides, every node's kube-proxy leads the Service of the
// app's name to exactly these pods.
func (c *cluster) serving(app string, replicas int) {
	GinkgoHelper()
	c.running(app, replicas)
	arguments := []string{"settled", "-name", c.name, namespace + "/" + app}
	var service struct{ Spec struct{ IPFamilies []string } }
	c.read(&service, "service", app)
	for _, p := range c.pods(app) {
		for _, address := range p.Status.PodIPs[:len(service.Spec.IPFamilies)] {
			arguments = append(arguments, address.IP)
		}
	}
	mustRun(program("cluster"), arguments...)
}

// read decodes an object of the workloads' namespace.
func (c *cluster) read(into any, kind, name string) {
	GinkgoHelper()
	Expect(json.Unmarshal([]byte(c.kubectl("-n", namespace, "get", kind, name, "-o", "json")), into)).To(Succeed())
}

// A pod is what the tests look at of a Pod.
type pod struct {
	Metadata struct {
		Name   string
		Labels map[string]string
	}
	Spec struct {
		InitContainers []struct{ Name, Image string }
	}
	Status struct {
		PodIP             string
		PodIPs            []struct{ IP string }
		Conditions        []struct{ Type, Status, LastTransitionTime string }
		ContainerStatuses []struct{ RestartCount int }
	}
}

// pods lists the pods of an app, those that are ending included.
func (c *cluster) pods(app string) []pod {
	GinkgoHelper()
	var list struct{ Items []pod }
	output := c.kubectl("-n", namespace, "get", "pods", "-l", "app="+app, "-o", "json")
	Expect(json.Unmarshal([]byte(output), &list)).To(Succeed())
	return list.Items
}

// in runs a command of the suite in a machine.
func (c *cluster) in(machine, name string, args ...string) string {
	GinkgoHelper()
	return mustRun(program("cluster"), append([]string{"exec", "-name", c.name, machine, "--", program(name)}, args...)...)
}

// attachGateway gives the router of the off-cluster clients the rules that client
// policies made for pods, by our attacher, and those for NodePorts: it funnels what it
// forwards.
func (c *cluster) attachGateway(policies ...string) {
	GinkgoHelper()
	dir, texts := GinkgoT().TempDir(), map[string]string{"egress.rules": nodeRules()}
	for _, policy := range policies {
		var rules struct{ Data map[string]string }
		c.read(&rules, "configmap", policy+"-funnel")
		for _, file := range []string{"ingress.rules", "egress.rules"} {
			Expect(rules.Data).To(HaveKey(file))
			texts[file] += rules.Data[file] + "\n"
		}
	}
	for file, text := range texts {
		Expect(os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600)).To(Succeed())
	}
	c.in("gateway", "attacher", "attach", "--interface", "eth0", "--rules", dir)
}

// survey asks all clients of the demo's Service and prints the table.
func (c *cluster) survey() []survey.Client {
	GinkgoHelper()
	return c.ask(survey.Question{Service: "echo", Family: 4})
}

// ask asks all clients a question that says which Service, family and size, and
// prints the table.
func (c *cluster) ask(q survey.Question) []survey.Client {
	GinkgoHelper()
	q = c.question(q)
	q.Outside = []string{program("cluster"), "exec", "-name", c.name, "outside", "--", program("echo"), "ask",
		"-source", strings.Join(outsideSources(q.Family), ",")}
	clients, err := survey.Ask(context.Background(), q)
	Expect(err).NotTo(HaveOccurred())
	survey.Print(os.Stdout, clients)
	Expect(clients).To(HaveLen(podClients + outsideClients))
	return clients
}

// question adds to a question whom to ask: all client pods.
func (c *cluster) question(q survey.Question) survey.Question {
	q.Kubectl, q.Namespace = []string{built.kubectl, "--kubeconfig", c.kubeconfig}, namespace
	q.Selector, q.Port = "app=client", clientPort
	return q
}

// outsideSources are the addresses of the clients outside.
func outsideSources(family int) []string {
	var sources []string
	for number := 1; number <= outsideClients; number++ {
		sources = append(sources, fmt.Sprintf(outsideTemplate[family], number))
	}
	return sources
}
