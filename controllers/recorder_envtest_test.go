// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

var _ = Describe("Both ConfigMaps of a backend that belong to somebody else", func() {
	It("make an Event each", func() {
		o, _ := startOperator()
		s := newShop()
		s.service("collector")
		for _, name := range []string{v1alpha1.ConfigMapName("policy"), v1alpha1.ExternalName("policy")} {
			theirs := &corev1.ConfigMap{}
			theirs.Namespace, theirs.Name = string(s), name
			Expect(api.Create(suite, theirs)).To(Succeed())
		}
		p := s.policy("policy", behind("collector"))
		const once = "Warning " + v1alpha1.ReasonConfigMapNotOwned
		Eventually(eventsOf(p)).Should(ContainElements(once, once))
		Expect(o.requests.writing("PATCH", "/events/")).To(BeEmpty())
	})
})
