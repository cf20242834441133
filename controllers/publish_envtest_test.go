// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

var _ = Describe("A rules ConfigMap", Ordered, func() {
	var o *operator
	BeforeAll(func() { o, _ = startOperator(cfg) })

	It("holds the rules and settings, and nothing that ties its life to the policy", func() {
		s := newShop()
		p := s.policy("collector")
		digest := digestOf(p)
		c := rulesOf(p)
		Expect(c.Data).To(HaveLen(3))
		Expect(c.Data[v1alpha1.FileIngress]).To(Equal(backendRules + "\n"))
		Expect(c.Data[v1alpha1.FileEgress]).To(BeEmpty())
		Expect(c.Data[v1alpha1.FileSettings]).To(MatchJSON(`{"policy":"collector","digest":"` + digest + `","priority":0,"mtu":"Warn"}`))
		Expect(c.Labels).To(HaveKeyWithValue(v1alpha1.LabelPolicy, "collector"))
		Expect(c.OwnerReferences).To(BeEmpty())
		Expect(c.Finalizers).To(BeEmpty())
		Expect(c.ManagedFields).To(HaveLen(1))
		Expect(c.ManagedFields[0].Manager).To(Equal(FieldManager))
		Expect(string(c.ManagedFields[0].Operation)).To(Equal("Apply"))
		Expect(o.writes.containing("/configmaps/", string(s))).To(HaveLen(1))
	})
})
