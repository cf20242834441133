// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// configuration is that of a webhook, which asks nobody.
func configuration() *admissionregistrationv1.MutatingWebhookConfiguration {
	c := &admissionregistrationv1.MutatingWebhookConfiguration{}
	c.Name = "sfunnel" // the operator's role names it
	return c
}

// webhookConfigured makes it, until the end of the case or container.
func webhookConfigured() {
	GinkgoHelper()
	Expect(api.Create(suite, configuration())).To(Succeed())
	DeferCleanup(func() { Expect(client.IgnoreNotFound(api.Delete(suite, configuration()))).To(Succeed()) })
}

// untilNobodyInjects waits until the operator knows that the configuration is gone.
func (o *operator) untilNobodyInjects() {
	GinkgoHelper()
	Eventually(func() (status.Injector, error) { return o.injector(suite) }).Should(Equal(status.Nobody))
}

var _ = Describe("Pods that come uninjected", Ordered, func() {
	// attached makes a policy all of whose pods are, and about whose pods nobody has doubts.
	attached := func(o *operator, s shop, edits ...func(*v1alpha1.FunnelPolicy)) *v1alpha1.FunnelPolicy {
		p := s.policy("policy", edits...)
		s.pod("web-1", reports("policy", digestOf(p)))
		Eventually(condition(p, "Attached")).Should(Equal("True/Attached"))
		for range 2 { // the list that the new pod asks for, and the one that confirms it
			o.clock.advance(time.Hour)
			lookOnce(o, p)
		}
		return p
	}

	It("are noticed while the webhook's configuration is not there, and not looked for when it is back", func() {
		webhookConfigured()
		o, _ := startOperator(func(r *FunnelPolicyReconciler) {
			r.WebhookConfiguration, r.ListSlowly = configuration().Name, time.Second
		})
		s := newShop()
		p := attached(o, s)
		Expect(message(p, "Attached")()).To(Equal("1 pod with the current rules."))

		Expect(api.Delete(suite, configuration())).To(Succeed())
		Eventually(message(p, "Attached")).Should(ContainSubstring("New pods are not injected, because the webhook's configuration is not there."))
		unseen := s.pod("web-2")
		Eventually(condition(p, "Attached")).Should(Equal("False/NobodyInjects"))

		Expect(api.Create(suite, configuration())).To(Succeed())
		Eventually(condition(p, "Attached")).Should(Equal("False/PodsNotInjected"))
		Expect(api.Delete(suite, unseen, client.GracePeriodSeconds(0))).To(Succeed())
		Eventually(message(p, "Attached")).Should(Equal("1 pod with the current rules."))
		o.clock.advance(time.Hour)
		lookOnce(o, p) // the list that confirms it
		lists := len(o.requests.reading("/namespaces/" + string(s) + "/pods"))
		for range 20 {
			o.clock.advance(time.Hour)
			lookOnce(o, p)
		}
		Expect(o.requests.reading("/namespaces/" + string(s) + "/pods")).To(HaveLen(lists))
	})

	It("are a matter of their manifests where these inject, whatever the namespace's label", func() {
		startOperator(func(r *FunnelPolicyReconciler) { r.Injector = status.Manifests })
		s := shopLabelled(map[string]string{})
		p := s.policy("policy")
		s.pod("web-1", reports("policy", digestOf(p)))
		Eventually(message(p, "Attached")).Should(Equal("1 pod with the current rules."))

		s.relabel(map[string]string{v1alpha1.LabelInjection: v1alpha1.InjectionEnabled})
		s.pod("web-2")
		Eventually(condition(p, "Attached")).Should(Equal("False/PodsNotInjected"))
		Expect(message(p, "Attached")()).To(ContainSubstring("Run: kubectl funnel inject "))
	})

	It("are a matter of their manifests in the two namespaces that admission leaves out", func() {
		own := newShop()
		o, _ := startOperator(func(r *FunnelPolicyReconciler) { r.Namespace = string(own) })
		p := own.policy("policy")
		own.pod("web-1")
		Eventually(condition(p, "Attached")).Should(Equal("False/PodsNotInjected"))
		Expect(message(p, "Attached")()).To(And(
			HavePrefix("The cluster never injects pods of namespace "+string(own)),
			ContainSubstring("Run: kubectl funnel inject "), Not(ContainSubstring("kubectl label")), Not(ContainSubstring("rollout restart"))))

		for namespace, want := range map[string]status.Injector{"kube-system": status.LeftOut, "kube-public": status.Admission} {
			n, err := o.namespace(suite, namespace)
			Expect(err).NotTo(HaveOccurred())
			Expect(n.Injector).To(Equal(want), namespace)
		}
	})

	It("are listed when they are seen as endpoints, once", func() {
		o, _ := startOperator()
		s := newShop()
		s.service("web")
		p := attached(o, s, behind("web"))
		s.pod("web-2") // behind an operator that takes all for injected
		s.pod("other", func(p *corev1.Pod) { p.Labels["app"] = "other" })
		s.endpoints("web", "web-1", "web-2", "other")
		Eventually(condition(p, "Attached")).Should(Equal("False/PodsNotInjected"))
	})
})
