// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// read reads an object of the workloads' namespace.
func (c *cluster) read(into client.Object, name string) {
	GinkgoHelper()
	Expect(c.api.Get(GinkgoT().Context(), c.keyOf(name), into)).To(Succeed())
}

func (c *cluster) service(name string) (s corev1.Service) {
	GinkgoHelper()
	c.read(&s, name)
	return s
}

// pods lists the pods of an app, those that are ending included.
func (c *cluster) pods(app string) []corev1.Pod {
	GinkgoHelper()
	var list corev1.PodList
	Expect(c.api.List(GinkgoT().Context(), &list, client.InNamespace(c.namespace), client.MatchingLabels{"app": app})).To(Succeed())
	return list.Items
}

// injected counts the pods of an app that carry our init container, all of which come
// from an image that was installed.
func (c *cluster) injected(app string) int {
	GinkgoHelper()
	count := 0
	for _, p := range c.pods(app) {
		for _, container := range p.Spec.InitContainers {
			if container.Name == "sfunnel-attach" {
				Expect(c.attachers).To(ContainElement(container.Image))
				count++
			}
		}
	}
	return count
}

// roll replaces the pods of a Deployment of the app's name.
func (c *cluster) roll(app string) {
	GinkgoHelper()
	c.kubectl("-n", c.namespace, "rollout", "restart", "deployment/"+app)
	c.running(app)
}

// running waits until a Deployment is as wanted and old pods are gone.
func (c *cluster) running(app string) {
	GinkgoHelper()
	Eventually(func() string {
		if problem := c.rollout(app); problem != "" {
			return problem
		}
		if ending := len(c.ending(app)); ending > 0 {
			return fmt.Sprint(ending, " pods are ending")
		}
		return ""
	}).Should(BeEmpty(), app)
}

// rollout says what keeps a Deployment from being as wanted, but for old pods that are
// ending. The pods are asked as well: just after one was deleted the Deployment does not
// know of it.
func (c *cluster) rollout(app string) string {
	GinkgoHelper()
	var d appsv1.Deployment
	c.read(&d, app)
	want, pods := *d.Spec.Replicas, c.living(app)
	all := int32(len(pods))
	ready := int32(len(slices.DeleteFunc(pods, func(p corev1.Pod) bool { return !isReady(p) })))
	if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas != want ||
		d.Status.AvailableReplicas != want || ready != want || all != want {
		return fmt.Sprintf("%d of %d pods updated, %d available, %d are not to end, of which %d ready",
			d.Status.UpdatedReplicas, want, d.Status.AvailableReplicas, all, ready)
	}
	return ""
}

// living are the pods of an app that are not to end, and ending the others.
func (c *cluster) living(app string) []corev1.Pod {
	GinkgoHelper()
	return slices.DeleteFunc(c.pods(app), isEnding)
}

func (c *cluster) ending(app string) []corev1.Pod {
	GinkgoHelper()
	return slices.DeleteFunc(c.pods(app), func(p corev1.Pod) bool { return !isEnding(p) })
}

func isEnding(p corev1.Pod) bool { return p.DeletionTimestamp != nil }

func isReady(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// settled waits until every node's kube-proxy leads a Service to exactly the pods of the
// app that it selects, and to none that is ending.
func (c *cluster) settled(service string) {
	GinkgoHelper()
	s := c.service(service)
	arguments := []string{"settled", "-name", c.name, c.namespace + "/" + service}
	for _, p := range c.living(s.Spec.Selector["app"]) {
		for _, address := range p.Status.PodIPs[:len(s.Spec.IPFamilies)] {
			arguments = append(arguments, address.IP)
		}
	}
	mustRun(program("cluster"), arguments...)
}

// health is what the kubelets think of an app's pods: since when each is ready, and how
// often it was started again.
func (c *cluster) health(app string) map[string]string {
	GinkgoHelper()
	health := map[string]string{}
	for _, p := range c.pods(app) {
		for _, condition := range p.Status.Conditions {
			if condition.Type == corev1.PodReady {
				health[p.Name] = fmt.Sprint(condition.Status, condition.LastTransitionTime, p.Status.ContainerStatuses[0].RestartCount)
			}
		}
	}
	return health
}

// askPod lets a client pod do something and decodes what it says. The query is that of
// test/echo.
func (c *cluster) askPod(into any, p corev1.Pod, what string, query url.Values) {
	GinkgoHelper()
	request := c.core.RESTClient().Get().Namespace(p.Namespace).Resource("pods").
		Name(fmt.Sprint(p.Name, ":", clientPort)).SubResource("proxy").Suffix(what)
	for name, values := range query {
		for _, value := range values {
			request.Param(name, value)
		}
	}
	answer, err := request.DoRaw(GinkgoT().Context())
	Expect(err).NotTo(HaveOccurred(), "%s %s %v: %s", p.Name, what, query, answer)
	Expect(json.Unmarshal(answer, into)).To(Succeed())
}

// concurrently runs checks at the same time and returns when all have passed.
func concurrently(checks ...func()) {
	GinkgoHelper()
	var all sync.WaitGroup
	var passed atomic.Int32
	for _, check := range checks {
		all.Go(func() {
			defer GinkgoRecover()
			check()
			passed.Add(1)
		})
	}
	all.Wait()
	Expect(passed.Load()).To(BeEquivalentTo(len(checks)), "checks that passed; the others' failures are reported by themselves")
}
