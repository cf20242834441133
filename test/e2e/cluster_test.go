// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/sfunnel-io/funnel-operator/test/survey"
)

// Where the demo's workload lives, the address that its Service gets from the load
// balancer, and how many clients it has.
const (
	namespace       = "demo"
	balancer        = "10.94.0.1"
	podClients      = 12
	outsideClients  = 12
	outsideTemplate = "10.93.0.%d"
)

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
	mustRun(program("cluster"), "up", "-name", c.name, "-nodes", "3", "-proxy-mode", proxyMode,
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
	c.kubectl("-n", namespace, "patch", "service", "echo", "--subresource=status", "-p",
		`{"status":{"loadBalancer":{"ingress":[{"ip":"`+balancer+`"}]}}}`)
	c.settle()
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
	for _, deployment := range []string{"deployment/echo", "deployment/client"} {
		c.kubectl("-n", namespace, "rollout", "restart", deployment)
		c.kubectl("-n", namespace, "rollout", "status", deployment, "--timeout="+soon.String())
	}
	c.settle()
}

// settle waits until the workload is as wanted, old pods are gone and every node's
// kube-proxy knows the new ones.
func (c *cluster) settle() {
	GinkgoHelper()
	for app, replicas := range map[string]int{"echo": 4, "client": podClients} {
		c.kubectl("-n", namespace, "rollout", "status", "deployment/"+app, "--timeout="+soon.String())
		Eventually(func() []pod { return c.pods(app) }).Should(HaveLen(replicas))
	}
	arguments := []string{"settled", "-name", c.name, namespace + "/echo"}
	for _, p := range c.pods("echo") {
		arguments = append(arguments, p.Status.PodIP)
	}
	mustRun(program("cluster"), arguments...)
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
	Status struct{ PodIP string }
}

// pods lists the pods of an app, those that are ending included.
func (c *cluster) pods(app string) []pod {
	GinkgoHelper()
	var list struct{ Items []pod }
	output := c.kubectl("-n", namespace, "get", "pods", "-l", "app="+app, "-o", "json")
	Expect(json.Unmarshal([]byte(output), &list)).To(Succeed())
	return list.Items
}

// outside runs a command of the suite where the off-cluster clients are.
func (c *cluster) outside(name string, args ...string) string {
	GinkgoHelper()
	return mustRun(program("cluster"), append([]string{"exec", "-name", c.name, "outside", "--", program(name)}, args...)...)
}

// attachOutside gives the off-cluster clients the rules that the client policy made
// for pods, by our attacher, as a gateway would have them.
func (c *cluster) attachOutside() {
	GinkgoHelper()
	var rules struct{ Data map[string]string }
	Expect(json.Unmarshal([]byte(c.kubectl("-n", namespace, "get", "configmap", "client-funnel", "-o", "json")), &rules)).To(Succeed())
	dir := GinkgoT().TempDir()
	for _, file := range []string{"ingress.rules", "egress.rules"} {
		Expect(rules.Data).To(HaveKey(file))
		Expect(os.WriteFile(filepath.Join(dir, file), []byte(rules.Data[file]), 0o600)).To(Succeed())
	}
	c.outside("attacher", "attach", "--rules", dir)
}

// survey asks all clients and prints the table.
func (c *cluster) survey() []survey.Client {
	GinkgoHelper()
	var sources []string
	for number := 1; number <= outsideClients; number++ {
		sources = append(sources, fmt.Sprintf(outsideTemplate, number))
	}
	clients, err := survey.Ask(context.Background(), survey.Question{
		Kubectl: []string{built.kubectl, "--kubeconfig", c.kubeconfig}, Namespace: namespace, Service: "echo",
		Selector: "app=client", Port: 7070,
		Outside: slices.Concat([]string{program("cluster"), "exec", "-name", c.name, "outside", "--"},
			[]string{program("echo"), "ask", "-source", strings.Join(sources, ",")}),
	})
	Expect(err).NotTo(HaveOccurred())
	survey.Print(os.Stdout, clients)
	Expect(clients).To(HaveLen(podClients + outsideClients))
	return clients
}
