// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// minutesLater lets an operator start so much later than the case's objects were made.
func minutesLater(r *FunnelPolicyReconciler) { r.Clock.(*skewedClock).advance(5 * time.Minute) }

var _ = Describe("Lists of pods that were not injected", Ordered, func() {
	// several makes as many policies as are worth a sweep, and more; of the first no pod, of the
	// second one, and so on.
	several := func(s shop) (policies []*v1alpha1.FunnelPolicy) {
		for i := range 2 * sweepFrom {
			app := fmt.Sprintf("app-%d", i)
			policies = append(policies, s.policy(app, selects(app)))
			for j := range i {
				pod := s.pod(fmt.Sprintf("%s-%d", app, j))
				change(pod, func() { pod.Labels["app"] = app })
			}
		}
		return policies
	}
	// listedOnce waits until the operator counted the pods of all of them.
	listedOnce := func(o *operator, s shop, policies []*v1alpha1.FunnelPolicy) {
		GinkgoHelper()
		for i, p := range policies {
			Eventually(condition(p, "Ready")).ShouldNot(BeEmpty())
			Expect(podCounts(p)()).To(Equal(v1alpha1.PodCounts{Matched: int32(i), Missing: int32(i)}))
		}
		Expect(o.requests.reading("/namespaces/" + string(s) + "/pods")).To(HaveLen(1))
	}

	It("are one for all policies that a starting operator finds in a namespace", func() {
		s := newShop()
		policies := several(s)
		o, _ := startOperator(minutesLater, withoutPolling)
		listedOnce(o, s, policies)

		By("a policy that comes later")
		later := s.policy("later", selects("app-1"))
		Eventually(func() int32 { return podCounts(later)().Missing }).Should(BeEquivalentTo(1))
		Expect(o.requests.reading("/namespaces/" + string(s) + "/pods")).To(HaveLen(2))
	})

	It("are one, too, when an operator takes over that stood by while the policies were made", func() {
		o, mgr := newOperator(withoutPolling)
		s := newShop()
		policies := several(s)
		o.clock.advance(5 * time.Minute)
		o.startWith(mgr)
		listedOnce(o, s, policies)
	})

	It("are not asked for by rollouts, but by pods that are gone", func() {
		s := newShop()
		p := s.policy("policy")
		o, _ := startOperator(minutesLater)
		digest := digestOf(p)
		old := s.pod("web-1", reports("policy", digest))
		Eventually(condition(p, "Attached")).Should(Equal("True/Attached"))
		o.clock.advance(time.Hour) // the list that noticed nobody may confirm
		lookOnce(o, p)
		lists := len(o.requests.reading("/namespaces/" + string(s) + "/pods"))

		next := s.pod("web-2", reports("policy", digest))
		Eventually(func() int32 { return podCounts(p)().Attached }).Should(BeEquivalentTo(2))
		Expect(api.Delete(suite, old, client.GracePeriodSeconds(0))).To(Succeed())
		Eventually(func() int32 { return podCounts(p)().Attached }).Should(BeEquivalentTo(1))
		Expect(o.requests.reading("/namespaces/" + string(s) + "/pods")).To(HaveLen(lists))

		s.pod("web-3") // unseen, in the place of the next
		Expect(api.Delete(suite, next, client.GracePeriodSeconds(0))).To(Succeed())
		Eventually(condition(p, "Attached")).Should(Equal("False/PodsNotInjected"))
	})
})
