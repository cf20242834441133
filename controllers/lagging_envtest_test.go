// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// Nobody tells of what the operator wrote itself: it must not take it for missing.
var _ = Describe("A ConfigMap that was just written, and is not in the cache yet", func() {
	var o *FunnelPolicyReconciler
	BeforeEach(func() {
		o = &FunnelPolicyReconciler{
			Client: api, Live: api, Clock: clock.RealClock{}, KeepDeleted: time.Minute,
			pods: pods{packedObjects{newIndexer(podIndexers)}}, configMaps: cutConfigMaps{packedObjects{newIndexer(nil)}},
		}
	})

	It("is removed when its policy is a backend's no more", func() {
		p := newShop().policy("collector")
		known := o.memory.of(keyOf(p))
		rules := content{data: map[string]string{v1alpha1.FileEgress: "tcp dport 22 drop"}, owned: true}
		Expect(o.apply(suite, p, v1alpha1.ExternalName(p.Name), nil, rules, &known.external)).To(Succeed())
		Expect(externalOf(p)).NotTo(BeNil())

		facts := status.Facts{Policy: p, Program: &policy.Program{}}
		Expect(o.publishExternal(suite, &facts, known)).To(BeNil())
		Expect(externalOf(p)).To(BeNil())

		By("and not looked for again")
		Expect(o.publishExternal(suite, &facts, known)).To(BeNil())
		Expect(known.external).To(BeZero())
	})

	It("is kept in mind when its policy is deleted", func() {
		p := newShop().policy("collector")
		known := o.memory.of(keyOf(p))
		Expect(o.apply(suite, p, v1alpha1.ConfigMapName(p.Name), nil, content{}, &known.configMap)).To(Succeed())
		Expect(api.Delete(suite, p)).To(Succeed())

		result, err := o.reconcileDeleted(suite, keyOf(p), known)
		Expect(err).NotTo(HaveOccurred())
		Expect(result.RequeueAfter).NotTo(BeZero())
		Expect(known.orphanedAt).NotTo(BeZero())
	})
})
