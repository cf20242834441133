// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

var _ = Describe("Rules of a deleted policy", Ordered, func() {
	var o *operator
	BeforeEach(func() { o, _ = startOperator(withoutPolling) })

	// look makes the operator look at the ConfigMap again.
	look := func(c *corev1.ConfigMap) {
		change(c, func() { c.Data["looked-at"] = o.clock.Now().Format("150405.000000000") })
	}
	// deletedPolicy is one whose operator knows that it is gone.
	deletedPolicy := func(s shop) *v1alpha1.FunnelPolicy {
		p := s.policy("collector")
		digestOf(p)
		Expect(api.Delete(suite, p)).To(Succeed())
		Eventually(func() bool { return o.orphaned(p) }).Should(BeTrue())
		return p
	}

	It("stay ten minutes, then go", func() {
		p := deletedPolicy(newShop())
		o.clock.advance(9 * time.Minute)
		look(rulesOf(p))
		Consistently(func() *corev1.ConfigMap { return rulesOf(p) }, "500ms").ShouldNot(BeNil())
		o.clock.advance(time.Minute)
		look(rulesOf(p))
		Eventually(func() *corev1.ConfigMap { return rulesOf(p) }).Should(BeNil())
		Eventually(func() bool { return o.remembers(p) }).Should(BeFalse())
	})

	DescribeTable("stay while a pod that has not ended mounts them", func(mounts func(*corev1.Pod)) {
		s := newShop()
		p := deletedPolicy(s)
		pod := s.pod("web-1", mounts)
		o.clock.advance(10 * time.Minute)
		look(rulesOf(p))
		Eventually(func() bool { return o.orphanedAt(p) > momentOf(time.Now().Add(9*time.Minute)) }).Should(BeTrue(), "waits ten minutes more")
		Expect(rulesOf(p)).NotTo(BeNil())

		By("the pod ending")
		pod.Status.Phase = corev1.PodSucceeded
		Expect(api.Status().Update(suite, pod)).To(Succeed())
		o.clock.advance(10 * time.Minute)
		look(rulesOf(p))
		Eventually(func() *corev1.ConfigMap { return rulesOf(p) }).Should(BeNil())
	},
		Entry("injected", injected("other", "collector")),
		Entry("injected, and crashing", fails("collector", "boom")),
		Entry("by hand, in a projected volume", func(p *corev1.Pod) {
			injected("collector")(p)
			delete(p.Labels, v1alpha1.LabelInjected)
		}),
		Entry("by hand, in a volume of its own", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "rules", VolumeSource: corev1.VolumeSource{
				ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "collector-funnel"}},
			}}}
		}),
	)

	It("are adopted by a policy of the same name", func() {
		s := newShop()
		p := deletedPolicy(s)
		before := rulesOf(p)
		again := s.policy("collector")
		digestOf(again)
		Expect(rulesOf(again)).To(Equal(before), "the rules are the same, so nothing is written")

		By("which lives on when the ten minutes are over")
		o.clock.advance(time.Hour)
		look(rulesOf(again))
		Consistently(func() *corev1.ConfigMap { return rulesOf(again) }, "500ms").ShouldNot(BeNil())

		By("and has ten minutes of its own when it is deleted")
		Expect(api.Delete(suite, again)).To(Succeed())
		Eventually(func() bool { return o.orphaned(again) }).Should(BeTrue())
		look(rulesOf(again))
		Consistently(func() *corev1.ConfigMap { return rulesOf(again) }, "500ms").ShouldNot(BeNil())
	})

	It("are adopted and replaced when the new policy has others", func() {
		s := newShop()
		p := deletedPolicy(s)
		uid := rulesOf(p).UID
		again := s.policy("collector", ingress("tcp dport 22 drop"))
		digestOf(again)
		Expect(rulesOf(again).UID).To(Equal(uid))
		Expect(rulesOf(again).Data[v1alpha1.FileIngress]).To(Equal("tcp dport 22 actions drop\n"))
	})

	It("are not removed when the policy is back and the cache does not know it yet", func() {
		s := newShop()
		p := s.policy("collector")
		digestOf(p)
		removed, err := o.remove(suite, keyOf(p), rulesOf(p))
		Expect(err).NotTo(HaveOccurred())
		Expect(removed).To(BeFalse())
		Expect(rulesOf(p)).NotTo(BeNil())
	})

	It("are looked for once, when many policies of a namespace are deleted together", func() {
		s := newShop()
		var policies []*v1alpha1.FunnelPolicy
		for i := range 20 {
			policies = append(policies, s.policy(fmt.Sprintf("policy-%02d", i)))
		}
		for _, p := range policies {
			digestOf(p)
		}
		s.pod("web-1", injected("policy-00"))
		Eventually(func() int32 { return podCounts(policies[0])().Matched }).Should(BeEquivalentTo(1))
		o.untilQuiet()
		var waits []time.Duration
		for _, p := range policies {
			Expect(api.Delete(suite, p)).To(Succeed())
			Eventually(func() bool { return o.orphaned(p) }).Should(BeTrue())
			result, err := o.Reconcile(suite, reconcile.Request{NamespacedName: keyOf(p)})
			Expect(err).NotTo(HaveOccurred())
			waits = append(waits, result.RequeueAfter)
		}
		Expect(slices.Max(waits)-slices.Min(waits)).To(BeNumerically(">", 10*time.Second), "not all at once")

		before := len(o.requests.reading("/namespaces/" + string(s) + "/pods"))
		o.clock.advance(11 * time.Minute)
		look(rulesOf(policies[0])) // which an injected pod mounts, as the cache shows
		Eventually(func() bool { return o.orphanedAt(policies[0]) > momentOf(time.Now().Add(9*time.Minute)) }).Should(BeTrue())
		Expect(o.requests.reading("/namespaces/" + string(s) + "/pods")).To(HaveLen(before))
		for _, p := range policies[1:] {
			look(rulesOf(p))
		}
		for _, p := range policies[1:] {
			Eventually(func() bool { return o.remembers(p) }).Should(BeFalse())
		}
		Expect(o.requests.reading("/namespaces/" + string(s) + "/pods")).To(HaveLen(before + 1))
		Expect(rulesOf(policies[0])).NotTo(BeNil())
	})

	It("are found again after a restart, which begins the ten minutes anew", func() {
		p := deletedPolicy(newShop())
		second, _ := startOperator()
		Eventually(func() bool { return second.orphaned(p) }).Should(BeTrue())
		second.clock.advance(10 * time.Minute)
		look(rulesOf(p))
		Eventually(func() *corev1.ConfigMap { return rulesOf(p) }).Should(BeNil())
	})

	It("are left alone when the ConfigMap is somebody else's", func() {
		s := newShop()
		theirs := &corev1.ConfigMap{}
		theirs.Namespace, theirs.Name = string(s), "settings"
		theirs.Labels = map[string]string{v1alpha1.LabelPolicy: "collector"}
		Expect(api.Create(suite, theirs)).To(Succeed())
		o.clock.advance(time.Hour)
		p := deletedPolicy(s)
		o.clock.advance(time.Hour)
		look(rulesOf(p))
		Eventually(func() *corev1.ConfigMap { return rulesOf(p) }).Should(BeNil())
		Expect(api.Get(suite, keyOf(theirs), theirs)).To(Succeed())
	})

	It("are an empty set for pods that wait for those of a policy that never had any", func() {
		s := newShop()
		p := s.policy("collector", ingress("tcp dport http drop"))
		Eventually(condition(p, v1alpha1.ConditionAccepted)).Should(HavePrefix("False"))
		s.pod("web-1", injected("collector"))
		Expect(api.Delete(suite, p)).To(Succeed())
		Eventually(func() bool { return o.orphaned(p) }).Should(BeTrue())
		Expect(rulesOf(p)).To(BeNil(), "somebody may make it again")

		o.clock.advance(releaseAfter)
		result, err := o.Reconcile(suite, reconcile.Request{NamespacedName: keyOf(p)})
		Expect(err).NotTo(HaveOccurred())
		Expect(result.RequeueAfter).NotTo(BeZero(), "when it is looked at again, to remove it")
		released := rulesOf(p)
		Expect(released).NotTo(BeNil())
		Expect(released.Data[v1alpha1.FileIngress] + released.Data[v1alpha1.FileEgress]).To(BeEmpty())

		By("which a policy of that name adopts")
		again := s.policy("collector", ingress("tcp dport 22 drop"))
		digestOf(again)
		Expect(rulesOf(again).Data[v1alpha1.FileIngress]).To(Equal("tcp dport 22 actions drop\n"))
	})

	DescribeTable("are an empty set also when nobody saw the policy go", func(edits ...func(*FunnelPolicyReconciler)) {
		s := newShop()
		p := s.policy("collector", ingress("tcp dport http drop"))
		Eventually(condition(p, v1alpha1.ConditionAccepted)).Should(HavePrefix("False"))
		s.pod("web-1", injected("collector"), pending)
		Expect(api.Delete(suite, p)).To(Succeed())
		second, _ := startOperator(edits...)
		Eventually(func() bool { return second.orphaned(p) }).Should(BeTrue())
	},
		Entry("where pods are injected at admission"),
		Entry("while the webhook's configuration is not there", func(r *FunnelPolicyReconciler) { r.WebhookConfiguration = configuration().Name }),
	)

	It("are not put in the place of somebody else's", func() {
		s := newShop()
		theirs := &corev1.ConfigMap{}
		theirs.Namespace, theirs.Name = string(s), "collector-funnel"
		Expect(api.Create(suite, theirs)).To(Succeed())
		p := s.policy("collector", ingress("tcp dport http drop"))
		Eventually(condition(p, v1alpha1.ConditionAccepted)).Should(HavePrefix("False"))
		s.pod("web-1", injected("collector"))
		Expect(api.Delete(suite, p)).To(Succeed())
		Eventually(func() bool { return o.orphaned(p) }).Should(BeTrue())

		o.clock.advance(releaseAfter)
		Expect(o.Reconcile(suite, reconcile.Request{NamespacedName: keyOf(p)})).To(BeZero())
		Expect(o.remembers(p)).To(BeFalse())
		before := theirs.ResourceVersion
		Expect(api.Get(suite, keyOf(theirs), theirs)).To(Succeed())
		Expect(theirs.ResourceVersion).To(Equal(before))
	})

	It("do not keep a policy from being deleted", func() {
		s := newShop()
		p := s.policy("collector")
		digestOf(p)
		Expect(api.Delete(suite, p)).To(Succeed())
		Expect(api.Get(suite, keyOf(p), p)).NotTo(Succeed())
	})
})

var _ = DescribeTable("Rules of a policy that is not there yet are awaited by a pod",
	func(makeShop func() shop, set func(*operator, shop), edits ...func(*corev1.Pod)) {
		s := makeShop()
		o, mgr := newOperator(withoutPolling)
		set(o, s)
		o.startWith(mgr)
		pod := s.pod("web-1", append(edits, injected("collector"), pending)...)
		Eventually(func() (*corev1.Pod, error) { return o.pods.get(keyOf(pod)) }).ShouldNot(BeNil())
		p := &v1alpha1.FunnelPolicy{}
		p.Namespace, p.Name = string(s), "collector"
		Consistently(func() bool { return o.remembers(p) }, "500ms").Should(BeFalse())

		p = s.policy("collector")
		digestOf(p)
		Expect(rulesOf(p).Data[v1alpha1.FileIngress]).NotTo(BeEmpty())
	},
	Entry("that was injected in its manifest", newShop, func(o *operator, _ shop) { o.Injector = status.Manifests }),
	Entry("of a namespace that is not enabled", func() shop { return shopLabelled(map[string]string{}) }, func(*operator, shop) {}),
	Entry("of a namespace that admission leaves out", newShop, func(o *operator, s shop) { o.Namespace = string(s) }),
	Entry("that requires injection", newShop, func(*operator, shop) {}, func(p *corev1.Pod) { p.Labels[v1alpha1.LabelInject] = v1alpha1.InjectRequired }),
)

func pending(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }
