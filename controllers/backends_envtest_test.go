// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

var _ = Describe("A backend", Ordered, func() {
	var o *operator
	BeforeAll(func() { o, _ = startOperator(withoutPolling) })

	It("gets rules for the port of its pods, wherever the Service leads", func() {
		s := newShop()
		service := s.service("collector")
		p := s.policy("collector", behind("collector"))
		digestOf(p)
		Expect(rulesOf(p).Data[v1alpha1.FileIngress]).To(Equal("tcp dport 1179 actions unfunnel tcp inline dport 8080\n"))
		change(service, func() { service.Spec.Ports[0].TargetPort = intstr.FromInt32(2179) })
		Eventually(func() string { return rulesOf(p).Data[v1alpha1.FileIngress] }).Should(ContainSubstring("dport 2179 "))
	})

	It("gets a rule for each number that its pods give to a named port, before they start", func() {
		s := newShop()
		s.service("collector", func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("bgp") })
		p := s.policy("collector", behind("collector"))
		Eventually(condition(p, "ResolvedRefs")).Should(Equal("False/PortNotFound"))
		Expect(rulesOf(p)).To(BeNil())
		pending := func(number int32) func(*corev1.Pod) {
			return func(p *corev1.Pod) {
				p.Status.Phase = corev1.PodPending
				p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "bgp", ContainerPort: number}}
			}
		}
		s.pod("web-1", injected("collector"), pending(1179))
		digestOf(p)
		Expect(rulesOf(p).Data[v1alpha1.FileIngress]).To(Equal("tcp dport 1179 actions unfunnel tcp inline dport 8080\n"))
		s.pod("web-2", injected("collector"), pending(1180))
		Eventually(func() string { return rulesOf(p).Data[v1alpha1.FileIngress] }).Should(Equal(
			"tcp dport 1179 actions unfunnel tcp inline dport 8080\ntcp dport 1180 actions unfunnel tcp inline dport 8080\n"))

		By("a container that runs beside the others (a sidecar)")
		s.pod("web-3", injected("collector"), func(p *corev1.Pod) {
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{
				Name: "speaker", Image: "speaker", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways),
				Ports: []corev1.ContainerPort{{Name: "bgp", ContainerPort: 1181}},
			})
		})
		Eventually(func() string { return rulesOf(p).Data[v1alpha1.FileIngress] }).Should(ContainSubstring("dport 1181 "))
	})

	It("takes the numbers of a named port from pods that its Service leads to alone", func() {
		s := newShop()
		service := s.service("collector", func(s *corev1.Service) {
			s.Spec.Selector["component"] = "server"
			s.Spec.Ports[0].TargetPort = intstr.FromString("bgp")
		})
		component := func(name string, number int32) func(*corev1.Pod) {
			return func(p *corev1.Pod) {
				p.Labels["component"] = name
				p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "bgp", ContainerPort: number}}
			}
		}
		p := s.policy("collector", behind("collector"))
		s.pod("worker", injected("collector"), component("worker", 1180))
		s.pod("server", injected("collector"), component("server", 1179))
		digestOf(p)
		Eventually(func() int32 { return podCounts(p)().Matched }).Should(BeEquivalentTo(2))
		Expect(rulesOf(p).Data[v1alpha1.FileIngress]).To(Equal("tcp dport 1179 actions unfunnel tcp inline dport 8080\n"))

		By("the Service leading to the others")
		change(service, func() { service.Spec.Selector["component"] = "worker" })
		Eventually(func() string { return rulesOf(p).Data[v1alpha1.FileIngress] }).Should(Equal("tcp dport 1180 actions unfunnel tcp inline dport 8080\n"))
	})

	It("keeps the numbers of a named port while it has no pod, until its Service leads elsewhere", func() {
		s := newShop()
		named := func(number int32) func(*corev1.Pod) {
			return func(p *corev1.Pod) {
				p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "bgp", ContainerPort: number}}
			}
		}
		service := s.service("collector", func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("bgp") })
		p := s.policy("collector", behind("collector"))
		one := s.pod("web-1", injected("collector"), named(1179))
		before := digestOf(p)
		Eventually(func() int32 { return podCounts(p)().Matched }).Should(BeEquivalentTo(1))
		Expect(api.Delete(suite, one, client.GracePeriodSeconds(0))).To(Succeed())
		Eventually(func() int32 { return podCounts(p)().Matched }).Should(BeZero())
		Expect(condition(p, "Ready")()).To(Equal("True/Ready"))
		Expect(statusOf(p).RulesDigest).To(Equal(before))

		By("another number, once there is a pod that says it")
		s.pod("web-2", injected("collector"), named(1180))
		Eventually(func() string { return rulesOf(p).Data[v1alpha1.FileIngress] }).Should(Equal("tcp dport 1180 actions unfunnel tcp inline dport 8080\n"))

		By("another name")
		change(service, func() { service.Spec.Ports[0].TargetPort = intstr.FromString("rpc") })
		Eventually(condition(p, "ResolvedRefs")).Should(Equal("False/PortNotFound"))
	})

	It("is covered when every ready endpoint attached its rules", func() {
		s := newShop()
		s.service("collector")
		p := s.policy("collector", behind("collector"))
		Eventually(condition(p, "Coverage")).Should(Equal("Unknown/NoEndpoints"))
		one := s.pod("web-1", reports("collector", digestOf(p)))
		slice := s.endpoints("collector", "web-1", "web-2")
		Eventually(condition(p, "Coverage")).Should(Equal("False/EndpointsNotCovered"))
		Expect(message(p, "Coverage")()).To(ContainSubstring("1 of 2 ready endpoints of Service " + string(s) + "/collector don't run its current rules: web-2 (not injected)"))
		change(slice, func() { slice.Endpoints = readyEndpoints([]string{"web-1"}) })
		Eventually(condition(p, "Coverage")).Should(Equal("True/EndpointsCovered"))

		By("new rules")
		change(p, func() { p.Spec.Backend.Ports[0].Port = 8081 })
		Eventually(condition(p, "Coverage")).Should(Equal("False/EndpointsNotCovered"))
		Eventually(message(p, "Coverage")).Should(ContainSubstring("web-1 (outdated)"))
		attaches(one, "collector", digestOf(p))
		Eventually(condition(p, "Coverage")).Should(Equal("True/EndpointsCovered"))
	})

	It("is covered by the endpoints of all slices, whoever made them", func() {
		s := newShop()
		s.service("collector", func(s *corev1.Service) { s.Spec.Selector = nil })
		p, c := s.policy("collector", behind("collector")), s.policy("client", clientOf(s, "collector"))
		s.pod("web-1", reports("collector", digestOf(p)))
		slice := s.endpointsBy("somebody-else", "collector", "web-1")
		Eventually(condition(p, "Coverage")).Should(Equal("True/EndpointsCovered"))
		Eventually(condition(c, "Ready")).Should(Equal("True/Ready"))

		By("one that is no pod")
		change(slice, func() { slice.Endpoints[0].TargetRef = nil })
		Eventually(condition(p, "Coverage")).Should(Equal("False/EndpointsNotCovered"))
		Expect(message(p, "Coverage")()).To(ContainSubstring("10.1.0.1 (no pod)"))
		held := s.policy("held", clientOf(s, "collector"))
		Eventually(condition(held, "ResolvedRefs")).Should(Equal("False/BackendNotAttached"))
		Expect(message(held, "ResolvedRefs")()).To(ContainSubstring("10.1.0.1 (no pod)"))
	})

	It("is not covered while a slice besides its own has endpoints without the rules", func() {
		s := newShop()
		s.service("collector")
		p := s.policy("collector", behind("collector"))
		s.pod("web-1", reports("collector", digestOf(p)))
		extra := s.endpointsBy("somebody-else", "collector", "web-1")
		change(extra, func() {
			extra.Endpoints[0].Addresses = []string{"192.0.2.1"}
			extra.Endpoints[0].TargetRef.Namespace = "elsewhere"
		})
		s.endpoints("collector", "web-1")
		Eventually(message(p, "Coverage")).Should(ContainSubstring("1 of 2 ready endpoints of Service " + string(s) + "/collector don't run its current rules: 192.0.2.1 (no pod of this namespace)"))
		c := s.policy("client", clientOf(s, "collector"))
		Eventually(condition(c, "ResolvedRefs")).Should(Equal("False/BackendNotAttached"))
		Expect(api.Delete(suite, extra)).To(Succeed())
		Eventually(condition(p, "Coverage")).Should(Equal("True/EndpointsCovered"))
		Eventually(condition(c, "Ready")).Should(Equal("True/Ready"))
	})

	It("publishes rules for gateways, which go with it and are no part of the digest", func() {
		s := newShop()
		service := s.service("collector", ofType(corev1.ServiceTypeLoadBalancer))
		p := s.policy("collector", behind("collector"))
		digest := digestOf(p)
		Eventually(func() *corev1.ConfigMap { return externalOf(p) }).ShouldNot(BeNil())
		c := externalOf(p)
		Expect(c.OwnerReferences).To(HaveLen(1))
		Expect(c.OwnerReferences[0].UID).To(Equal(p.UID))
		Expect(c.Data).To(HaveKey("egress.peer.rules"))
		Expect(c.Data["egress.nodeport.rules"]).To(ContainSubstring("ip daddr <NodeAddresses> tcp dport 8080 actions funnel tcp dport "))

		service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.7"}}
		Expect(api.Status().Update(suite, service)).To(Succeed())
		Eventually(func() string { return externalOf(p).Data[v1alpha1.FileEgress] }).Should(Equal("ip daddr 192.0.2.7 tcp dport 8080 actions funnel tcp dport 179 inline\n"))
		Expect(digestOf(p)).To(Equal(digest))

		By("somebody editing them")
		c = externalOf(p)
		change(c, func() { c.Data[v1alpha1.FileEgress] = "" })
		Eventually(func() string { return externalOf(p).Data[v1alpha1.FileEgress] }).Should(ContainSubstring("192.0.2.7"))

		By("the policy taking another form")
		change(p, func() {
			p.Spec.Backend = nil
			ingress(backendRules)(p)
		})
		Eventually(func() *corev1.ConfigMap { return externalOf(p) }).Should(BeNil())
	})

	It("that is none leaves alone a ConfigMap that is called as one for gateways would be", func() {
		s := newShop()
		theirs := &corev1.ConfigMap{}
		theirs.Namespace, theirs.Name = string(s), "gateway-external"
		theirs.Labels = map[string]string{v1alpha1.LabelPolicy: "nfacctd"}
		Expect(api.Create(suite, theirs)).To(Succeed())
		digestOf(s.policy("gateway"))
		Consistently(func() error { return api.Get(suite, keyOf(theirs), theirs) }, "300ms").Should(Succeed())
	})

	It("writes nothing when nothing changed", func() {
		s := newShop()
		s.service("collector", ofType(corev1.ServiceTypeLoadBalancer))
		p := s.policy("collector", behind("collector"))
		c := s.policy("client", clientOf(s, "collector"))
		s.pod("web-1", reports("collector", digestOf(p)))
		s.endpoints("collector", "web-1")
		digestOf(c)
		o.untilQuiet()
		before := len(o.requests.writing())
		for range 20 {
			for _, one := range []*v1alpha1.FunnelPolicy{p, c} {
				_, err := o.Reconcile(suite, ctrl.Request{NamespacedName: keyOf(one)})
				Expect(err).NotTo(HaveOccurred())
			}
		}
		Expect(o.requests.writing()[before:]).To(BeEmpty())
	})
})

var _ = Describe("A client", Ordered, func() {
	BeforeAll(func() { startOperator(withoutPolling) })

	It("starts without rules, and gets them for good once all backends can undo them", func() {
		s := newShop()
		service := s.service("collector")
		p := s.policy("client", clientOf(s, "collector"))
		Eventually(condition(p, "ResolvedRefs")).Should(Equal("False/PolicyNotFound"))
		Eventually(egressOf(p)).Should(BeEmpty())

		backend := s.policy("collector", behind("collector"))
		Eventually(condition(p, "ResolvedRefs")).Should(Equal("False/BackendNotAttached"))
		Expect(condition(p, "Programmed")()).To(Equal("False/NeverProgrammed"))
		Expect(message(p, "Programmed")()).To(ContainSubstring("holds an empty rule set, so that pods start"))
		one, two := s.pod("web-1", injected("collector")), s.pod("web-2", injected("collector"))
		slice := s.endpoints("collector", "web-1", "web-2")
		attaches(one, "collector", digestOf(backend))
		Eventually(message(p, "ResolvedRefs")).Should(ContainSubstring("1 of 2 ready endpoints"))
		Expect(egressOf(p)()).To(BeEmpty())

		attaches(two, "collector", digestOf(backend))
		Eventually(condition(p, "Ready")).Should(Equal("True/Ready"))
		funnel := "ip daddr " + service.Spec.ClusterIP + " tcp dport 8080 actions funnel tcp dport 179 inline\n"
		Expect(egressOf(p)()).To(Equal(funnel))

		By("an endpoint that was not injected")
		change(slice, func() { slice.Endpoints = readyEndpoints([]string{"web-1", "web-2", "web-3"}) })
		Eventually(condition(backend, "Coverage")).Should(Equal("False/EndpointsNotCovered"))
		Consistently(condition(p, "Ready"), "300ms").Should(Equal("True/Ready"))

		By("another address of the Service")
		change(service, func() { service.Spec.ExternalIPs = []string{"192.0.2.9"} })
		Eventually(egressOf(p)).Should(ContainSubstring("192.0.2.9"))

		By("another operator taking over")
		fresh, stop := startOperator(withoutPolling)
		_, err := fresh.Reconcile(suite, ctrl.Request{NamespacedName: keyOf(p)})
		Expect(err).NotTo(HaveOccurred())
		Expect(egressOf(p)()).To(ContainSubstring("192.0.2.9"))
		stop()
	})

	It("keeps the last good rules until all backends can undo new ones", func() {
		s := newShop()
		s.service("collector")
		backend, p := s.policy("collector", behind("collector")), s.policy("client", clientOf(s, "collector"))
		pod := s.pod("web-1", reports("collector", digestOf(backend)))
		s.endpoints("collector", "web-1")
		digestOf(p)

		change(backend, func() { backend.Spec.Backend.Ports[0].Port = 8081 })
		Eventually(condition(p, "ResolvedRefs")).Should(Equal("False/BackendNotAttached"))
		Eventually(condition(p, "Programmed")).Should(Equal("False/StaleRules"))
		Expect(egressOf(p)()).To(ContainSubstring("dport 8080 "))
		attaches(pod, "collector", digestOf(backend))
		Eventually(condition(p, "Ready")).Should(Equal("True/Ready"))
		Expect(egressOf(p)()).To(ContainSubstring("dport 8081 "))

		By("the backend policy being deleted")
		Expect(api.Delete(suite, backend)).To(Succeed())
		Eventually(condition(p, "ResolvedRefs")).Should(Equal("False/PolicyNotFound"))
		Eventually(condition(p, "Programmed")).Should(Equal("False/StaleRules"))
		Expect(egressOf(p)()).To(ContainSubstring("dport 8081 "))
	})

	It("is released for one Service, and waits for the endpoints of another", func() {
		s := newShop()
		s.service("collector")
		s.service("second")
		backend, p := s.policy("collector", behind("collector")), s.policy("client", clientOf(s, "collector"))
		s.pod("web-1", reports("collector", digestOf(backend)))
		s.endpoints("collector", "web-1")
		digestOf(p)
		before := egressOf(p)()

		By("a Service with the same ports whose endpoints were not injected")
		slice := s.endpoints("second", "web-2")
		change(backend, func() { backend.Spec.Backend.Service = "second" })
		Eventually(condition(p, "ResolvedRefs")).Should(Equal("False/BackendNotAttached"))
		Eventually(condition(p, "Programmed")).Should(Equal("False/StaleRules"))
		Expect(egressOf(p)()).To(Equal(before))
		change(slice, func() { slice.Endpoints = readyEndpoints([]string{"web-1"}) })
		Eventually(condition(p, "Ready")).Should(Equal("True/Ready"))
		Expect(egressOf(p)()).NotTo(Equal(before))
	})

	It("that was released before releases named the Service keeps its rules, and is written once", func() {
		s := newShop()
		service := s.service("collector")
		backend, p := s.policy("collector", behind("collector")), s.policy("client", clientOf(s, "collector"))
		s.pod("web-1", reports("collector", digestOf(backend)))
		slice := s.endpoints("collector", "web-1")
		digestOf(p)
		before, c := egressOf(p)(), rulesOf(p)
		change(slice, func() { slice.Endpoints = readyEndpoints([]string{"web-1", "web-2"}) })
		Eventually(condition(backend, "Coverage")).Should(Equal("False/EndpointsNotCovered"))

		asOnceWritten := string(s) + "/collector " + digestOf(backend)
		change(c, func() { c.Annotations[v1alpha1.AnnotationReleased] = asOnceWritten })
		version := c.ResourceVersion
		Eventually(func() string { return rulesOf(p).Annotations[v1alpha1.AnnotationReleased] }).Should(Equal(asOnceWritten + " " + string(service.UID)))
		Expect(rulesOf(p).ResourceVersion).NotTo(Equal(version))
		Expect(egressOf(p)()).To(Equal(before))
		Expect(condition(p, "Ready")()).To(Equal("True/Ready"))

		By("another address of the Service")
		change(service, func() { service.Spec.ExternalIPs = []string{"192.0.2.9"} })
		Eventually(egressOf(p)).Should(ContainSubstring("192.0.2.9"))
	})

	It("that had rules of another form keeps them until all backends can undo the new ones", func() {
		s := newShop()
		s.service("collector")
		p := s.policy("client", selects("client"), through("collector"))
		digestOf(p)
		before := egressOf(p)()
		Expect(before).To(ContainSubstring("sport 540"))
		backend := s.policy("collector", behind("collector"))
		digestOf(backend)
		change(p, func() { clientOf(s, "collector")(p) })
		Eventually(condition(p, "ResolvedRefs")).Should(Equal("False/BackendNotAttached"))
		Eventually(condition(p, "Programmed")).Should(Equal("False/StaleRules"))
		Expect(egressOf(p)()).To(Equal(before))
		s.pod("web-1", reports("collector", digestOf(backend)))
		s.endpoints("collector", "web-1")
		Eventually(condition(p, "Ready")).Should(Equal("True/Ready"))
		Expect(egressOf(p)()).To(HaveSuffix("inline\n"))
	})

	It("of another namespace needs permission, and is not told what there is without it", func() {
		s, other := newShop(), newShop()
		s.service("collector")
		backend := s.policy("collector", behind("collector"))
		s.pod("web-1", reports("collector", digestOf(backend)))
		s.endpoints("collector", "web-1")
		p, missing := other.policy("client", clientOf(s, "collector")), other.policy("missing", clientOf(s, "no-such-policy"))
		for _, refused := range []*v1alpha1.FunnelPolicy{p, missing} {
			Eventually(condition(refused, "ResolvedRefs")).Should(Equal("False/ClientNotAllowed"))
			Eventually(egressOf(refused)).Should(BeEmpty())
			Expect(statusOf(refused).Services).To(BeEmpty())
		}
		other.relabel(map[string]string{"client": "yes"})
		Eventually(condition(p, "Ready")).Should(Equal("True/Ready"))
		Expect(egressOf(p)()).To(ContainSubstring("dport 8080 "))
		Expect(condition(missing, "ResolvedRefs")()).To(Equal("False/ClientNotAllowed"))

		By("the permission being taken back")
		other.relabel(map[string]string{"client": "no"})
		Eventually(condition(p, "ResolvedRefs")).Should(Equal("False/ClientNotAllowed"))
		Eventually(egressOf(p)).Should(BeEmpty())

		By("being given again, and the policy going")
		other.relabel(map[string]string{"client": "yes"})
		Eventually(condition(p, "Ready")).Should(Equal("True/Ready"))
		Expect(api.Delete(suite, backend, client.GracePeriodSeconds(0))).To(Succeed())
		Eventually(condition(p, "ResolvedRefs")).Should(Equal("False/PolicyNotFound"))
		Expect(egressOf(p)()).To(ContainSubstring("dport 8080 "))
	})
})
