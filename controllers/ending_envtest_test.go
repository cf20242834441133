// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// Here a namespace that is deleted ends for ever: nobody removes what is in it.
var _ = Describe("In a namespace that is being deleted", Ordered, func() {
	var o *operator
	BeforeAll(func() { o, _ = startOperator(withoutPolling) })

	// counts reports whether the failure of a write is counted.
	counts := func(err error) bool {
		GinkgoHelper()
		Expect(err).To(HaveOccurred())
		before := metric("sfunnel_apply_errors_total", "here")
		Expect(countFailure("here", err)).To(Equal(err))
		return metric("sfunnel_apply_errors_total", "here") > before
	}
	end := func(s shop) {
		GinkgoHelper()
		namespace := &corev1.Namespace{}
		namespace.Name = string(s)
		Expect(api.Delete(suite, namespace)).To(Succeed())
		Eventually(func() (bool, error) { return o.ends(suite, string(s)) }).Should(BeTrue())
	}

	It("nothing is written, and nothing fails", func() {
		s := newShop()
		p := s.policy("policy")
		digestOf(p)
		waits := s.policy("waits", ingress("nonsense"))
		s.pod("web-1", injected("waits"))
		Eventually(condition(waits, v1alpha1.ConditionAccepted)).Should(HavePrefix("False"))
		o.untilQuiet()
		writes := len(o.requests.writing(string(s)))

		end(s)
		Expect(api.Delete(suite, rulesOf(p))).To(Succeed())
		Expect(api.Delete(suite, waits)).To(Succeed())
		Eventually(func() bool { return o.remembers(waits) }).Should(BeFalse())
		for _, policy := range []*v1alpha1.FunnelPolicy{p, waits} {
			Expect(o.Reconcile(suite, reconcile.Request{NamespacedName: keyOf(policy)})).To(BeZero())
		}
		o.untilQuiet()
		Expect(o.requests.writing(string(s))).To(HaveLen(writes))
	})

	It("what is remembered of it is forgotten with it", func() {
		s := newShop()
		p := s.policy("policy", ingress("nonsense"))
		Eventually(condition(p, v1alpha1.ConditionAccepted)).Should(HavePrefix("False"))
		Expect(api.Delete(suite, p)).To(Succeed())
		Eventually(func() bool { return o.remembers(p) }).Should(BeFalse())
		o.memory.sweep(string(s)) // as where policies are found at the start
		Expect(o.ofNamespace(s)).To(Equal([]string{"sweep", "look", "keys"}))

		end(s)
		namespace := &corev1.Namespace{}
		Expect(api.Get(suite, types.NamespacedName{Name: string(s)}, namespace)).To(Succeed())
		namespace.Spec.Finalizers = nil
		Expect(api.SubResource("finalize").Update(suite, namespace)).To(Succeed())
		Eventually(func() []string { return o.ofNamespace(s) }).Should(BeEmpty())
	})

	It("a write that was under way is no failure", func() {
		s := newShop()
		p := s.policy("policy", ingress("nonsense"))
		Eventually(condition(p, v1alpha1.ConditionAccepted)).Should(HavePrefix("False"))
		end(s)
		err := o.apply(suite, p, "policy-funnel", nil, content{}, &written{})
		Expect(ending(err)).To(BeTrue(), "%v", err)
		Expect(overtaken(err)).To(Equal(err))
		Expect(counts(err)).To(BeFalse())
	})

	It("nor is one to what somebody else deleted or changed", func() {
		s := newShop()
		p := s.policy("policy")
		digestOf(p)
		o.untilQuiet()
		stale := p.DeepCopy()
		change(p, func() { p.Labels = map[string]string{"edited": "yes"} })
		_, err := o.updateStatus(suite, stale, v1alpha1.FunnelPolicyStatus{})
		Expect(apierrors.IsConflict(err)).To(BeTrue(), "%v", err)
		Expect(counts(err)).To(BeFalse())
		Expect(api.Delete(suite, p, client.GracePeriodSeconds(0))).To(Succeed())
		_, err = o.updateStatus(suite, p, v1alpha1.FunnelPolicyStatus{})
		Expect(apierrors.IsNotFound(err)).To(BeTrue(), "%v", err)
		Expect(counts(err)).To(BeFalse())
		Expect(counts(apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("funnelpolicies").GroupResource(), p.Name, nil))).To(BeTrue())
	})
})
