// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/report"
)

var _ = Describe("An operator with nothing to do", Ordered, func() {
	var o *operator
	BeforeEach(func() { o, _ = startOperator() })

	It("writes nothing, however often it looks", func() {
		s := newShop()
		s.service("collector")
		pods := []*v1alpha1.FunnelPolicy{
			s.policy("good"),
			s.policy("client", selects("exporter"), through("collector")),
			s.policy("invalid", selects("other"), ingress("nonsense")),
			s.policy("waiting", selects("another"), through("nobody")),
		}
		s.pod("web-1", reports("good", digestOf(pods[0]), report.Interface{Name: "eth0", MTU: 1500}))
		s.pod("web-2")
		Eventually(condition(pods[0], "Attached")).Should(Equal("False/PodsNotInjected"))
		for _, p := range pods {
			Eventually(condition(p, "Ready")).ShouldNot(BeEmpty())
		}
		noted := rulesOf(pods[0])
		change(noted, func() { noted.Data["note"] = "by hand" })
		Eventually(func() []string { return o.requests.writing("configmaps", noted.Name) }).Should(HaveLen(2), "an apply tells that all else is there")
		o.untilQuiet()
		before := len(o.requests.writing())
		for range 50 {
			for _, p := range pods {
				_, err := o.Reconcile(suite, ctrl.Request{NamespacedName: keyOf(p)})
				Expect(err).NotTo(HaveOccurred())
			}
		}
		Expect(o.requests.writing()[before:]).To(BeEmpty())
	})

	It("compiles many rules once, and again when they change", func() {
		s := newShop()
		p := s.policy("policy", ingress(dropRules(100)))
		digestOf(p)
		first := o.memory.compiled(keyOf(p)).program
		Expect(first).NotTo(BeNil())
		s.pod("web-1", injected("policy"))
		Eventually(condition(p, "Attached")).Should(Equal("False/PodsPending"))
		Expect(o.memory.compiled(keyOf(p)).program).To(BeIdenticalTo(first))

		change(p, func() { p.Spec.Rules.Text.Ingress = dropRules(99) })
		Eventually(func() int { return len(o.memory.compiled(keyOf(p)).program.Ingress) }).Should(Equal(99))
	})

	It("reads nothing either, once all pods are injected", func() {
		s := newShop()
		p := s.policy("policy")
		s.pod("web-1", reports("policy", digestOf(p)))
		Eventually(condition(p, "Attached")).Should(Equal("True/Attached"))
		for range 2 { // the list that the new pod asks for, and the one that confirms it
			o.clock.advance(time.Hour)
			lookOnce(o, p)
		}
		lists := len(o.requests.reading("/namespaces/" + string(s) + "/pods"))
		for range 50 {
			o.clock.advance(time.Hour)
			lookOnce(o, p)
		}
		Expect(o.requests.reading("/namespaces/" + string(s) + "/pods")).To(HaveLen(lists))
	})
})

var _ = Describe("An operator with much to do", Ordered, func() {
	It("writes a status at most once a second", func() {
		o, _ := startOperator(func(r *FunnelPolicyReconciler) { r.StatusAtMost = 0 })
		s := newShop()
		p := s.policy("policy")
		digestOf(p)
		begin := time.Now()
		for i := range 60 {
			s.pod(fmt.Sprintf("web-%02d", i), injected("policy"))
		}
		Eventually(func() int32 { return podCounts(p)().Pending }).Should(BeEquivalentTo(60))
		seconds := int(time.Since(begin)/time.Second) + 1
		Expect(len(o.requests.writing("funnelpolicies/policy/status", string(s)))).To(BeNumerically("<=", 2+seconds))
	})

	It("converges 200 policies with one ConfigMap and one status each", func() {
		const each = 50
		var policies []*v1alpha1.FunnelPolicy
		shops := []shop{newShop(), newShop(), newShop(), newShop()}
		for _, s := range shops {
			for i := range each {
				policies = append(policies, s.policy(fmt.Sprintf("policy-%02d", i), selects(fmt.Sprintf("app-%d", i))))
			}
		}
		o, _ := startOperator(func(r *FunnelPolicyReconciler) { r.Workers = 8 })
		for _, p := range policies {
			Eventually(condition(p, "Ready")).Should(Equal("True/Ready"))
		}
		o.untilQuiet()
		for _, s := range shops {
			Expect(o.requests.writing("configmaps", string(s))).To(HaveLen(each))
			Expect(o.requests.reading("configmaps", string(s))).To(BeEmpty())
			Expect(o.requests.writing("/status", string(s))).To(HaveLen(each))
			Expect(len(o.requests.writing("events", string(s)))).To(BeNumerically("<=", each))
		}
	})

	It("reads no ConfigMap of a client that waits for its backend", func() {
		s := newShop()
		p := s.policy("client", selects("exporter"), clientOf(s, "nobody"))
		first, stop := startOperator()
		Eventually(condition(p, "Ready")).Should(Equal("False/PolicyNotFound"))
		first.untilQuiet()
		lookOnce(first, p)
		stop()

		second, _ := startOperator()
		lookOnce(second, p)
		for _, o := range []*operator{first, second} {
			Expect(o.requests.reading("configmaps", string(s))).To(BeEmpty())
		}
	})

	It("takes over from another one without writing", func() {
		s := newShop()
		p := s.policy("policy")
		first, stop := startOperator()
		s.pod("web-1", reports("policy", digestOf(p)))
		Eventually(condition(p, "Attached")).Should(Equal("True/Attached"))
		first.untilQuiet()
		stop()

		second, _ := startOperator()
		_, err := second.Reconcile(suite, ctrl.Request{NamespacedName: keyOf(p)})
		Expect(err).NotTo(HaveOccurred())
		Expect(second.requests.writing(string(s))).To(BeEmpty())
	})
})

// lookOnce lets the operator look at the policy once more.
func lookOnce(o *operator, p *v1alpha1.FunnelPolicy) {
	GinkgoHelper()
	_, err := o.Reconcile(suite, ctrl.Request{NamespacedName: keyOf(p)})
	Expect(err).NotTo(HaveOccurred())
}
