// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// How many clients there are.
const (
	podClients     = 20
	outsideClients = 20
	clientPort     = 7070 // where a client pod takes questions
)

// outsideTemplate has the addresses of the clients outside, by family.
var outsideTemplate = map[int]string{4: "10.93.0.%d", 6: "fd93::%x"}

// A cluster is one that this suite started.
type cluster struct {
	name       string
	namespace  string // where the workloads are
	mode       string // kube-proxy's
	kubeconfig string
	api        client.Client
	core       corev1.CoreV1Interface // for what pods say
	attachers  []string               // images of the init container that were installed, one after the other
}

// startCluster starts three nodes, which have the suite's images and more, and installs
// nothing.
func startCluster(more ...string) *cluster {
	GinkgoHelper()
	phase("start a cluster of 3 nodes, and build images")
	c := &cluster{name: "e2e", namespace: "demo", mode: "nftables"}
	ours := true
	DeferCleanup(func() {
		phase("take the cluster down")
		if ours {
			mustRun(program("cluster"), "down", "-name", c.name)
		}
	})
	concurrently(buildImages, func() {
		_, err := run(program("cluster"), "up", "-name", c.name, "-nodes", "3", "-proxy-mode", c.mode, "-families", "4,6",
			"-outside", fmt.Sprint(outsideClients))
		ours = err == nil // up that fails takes back what it did, or another's cluster is up
		Expect(err).NotTo(HaveOccurred())
	})
	load := []string{"load", "-name", c.name, image("pause"), image("echo"), image("manager"), image("attacher")}
	mustRun(program("cluster"), append(load, more...)...)
	c.kubeconfig = strings.TrimSpace(mustRun(program("cluster"), "kubeconfig", "-name", c.name))
	c.connect()
	return c
}

// connect makes the cluster's clients, which know the built-in kinds and ours.
func (c *cluster) connect() {
	GinkgoHelper()
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	Expect(err).NotTo(HaveOccurred())
	config.QPS = -1
	c.core, err = corev1.NewForConfig(config)
	Expect(err).NotTo(HaveOccurred())
	scheme := runtime.NewScheme()
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	c.api, err = client.New(config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
}

// within is the same cluster, seen from another namespace.
func (c *cluster) within(namespace string) *cluster {
	other := *c
	other.namespace = namespace
	return &other
}

// switchProxy changes kube-proxy's mode and returns when the nodes lead these Services
// to their pods again.
func (c *cluster) switchProxy(mode string, services ...string) {
	GinkgoHelper()
	mustRun(program("cluster"), "proxy-mode", "-name", c.name, mode)
	c.mode = mode
	for _, service := range services {
		c.settled(service)
	}
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

// describeFailed puts into the report of a spec that failed what somebody would look at
// first.
func (c *cluster) describeFailed(load *tally) {
	if !CurrentSpecReport().Failed() || c == nil {
		return
	}
	for _, args := range [][]string{
		{"get", "pods", "--all-namespaces", "-o", "wide"},
		{"get", "events", "--all-namespaces", "--field-selector=type!=Normal"},
		{"get", "fp", "--all-namespaces", "-o", "yaml"},
		{"-n", "sfunnel-system", "logs", "-l", "app.kubernetes.io/component=manager", "--prefix", "--tail=40"},
		{"-n", c.namespace, "logs", "-l", "sfunnel.io/injected=true", "-c", "sfunnel-attach", "--prefix", "--tail=2", "--max-log-requests=50"},
	} {
		output, _ := c.tryKubectl("", args...)
		fmt.Fprintln(GinkgoWriter, output)
	}
	GinkgoWriter.Printf("load: %+v\n", load.loads())
}

// balance plays the load balancer's part for a Service: it gives it addresses, which
// are routed to the nodes already.
func (c *cluster) balance(service, ingress string) {
	GinkgoHelper()
	c.kubectl("-n", c.namespace, "patch", "service", service, "--subresource=status", "-p",
		`{"status": {"loadBalancer": {"ingress": `+ingress+`}}}`)
}

// in runs a command of the suite in a machine.
func (c *cluster) in(machine, name string, args ...string) string {
	GinkgoHelper()
	return mustRun(program("cluster"), c.enter(machine, name, args...)...)
}

// enter are the arguments with which the program cluster runs a command of the suite in a
// machine.
func (c *cluster) enter(machine, name string, args ...string) []string {
	return append([]string{"exec", "-name", c.name, machine, "--", program(name)}, args...)
}

// outsideSources are the addresses of the clients outside.
func outsideSources(family int) []string {
	var sources []string
	for number := 1; number <= outsideClients; number++ {
		sources = append(sources, fmt.Sprintf(outsideTemplate[family], number))
	}
	return sources
}

// seconds prints how long something took.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// families are the IP versions of the cluster.
var families = slices.Values([]int{4, 6})
