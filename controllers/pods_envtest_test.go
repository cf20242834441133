// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

var _ = Describe("Pods", Ordered, func() {
	var o *operator
	BeforeAll(func() { o, _ = startOperator(func(r *FunnelPolicyReconciler) { r.podsPerPage = 2 }) })

	It("are counted by what they run, and the counts add up", func() {
		s := newShop()
		p := s.policy("policy")
		digest := digestOf(p)
		s.pod("out", func(p *corev1.Pod) { p.Labels[v1alpha1.LabelInject] = v1alpha1.InjectFalse })
		s.pod("missing-1")
		s.pod("missing-2")
		s.pod("attached", reports("policy", digest))
		s.pod("outdated", reports("policy", "sha256:old"))
		s.pod("pending", injected("policy"))
		s.pod("failed", fails("policy", "boom"))
		s.pod("done", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
		s.pod("done-injected", reports("policy", digest), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
		s.pod("unrelated", func(p *corev1.Pod) { p.Labels["app"] = "db" })
		Eventually(podCounts(p)).Should(Equal(v1alpha1.PodCounts{
			Matched: 6, Attached: 1, Pending: 1, Outdated: 1, Missing: 2, Failed: 1, OptedOut: 1,
		}))
	})

	It("are not in memory unless they were injected, and then cut", func() {
		s := newShop()
		s.pod("cached", injected("policy"), func(pod *corev1.Pod) {
			pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
		})
		s.pod("plain")
		var cached []*corev1.Pod
		Eventually(func() (n int, err error) {
			cached, err = o.pods.selected(string(s), labels.Everything())
			return len(cached), err
		}).Should(Equal(1))
		Expect(cached[0].Name).To(Equal("cached"))
		Expect(cached[0].Spec.Volumes).To(HaveExactElements(HaveField("Name", v1alpha1.VolumeName)))
		Expect(cached[0].ManagedFields).To(BeEmpty())
	})

	It("that were not injected are listed page by page", func() {
		s := newShop()
		for i := range 5 {
			s.pod(fmt.Sprintf("web-%d", i))
		}
		p := s.policy("policy")
		Eventually(func() int32 { return podCounts(p)().Missing }).Should(BeEquivalentTo(5))
		Expect(message(p, v1alpha1.ConditionAttached)()).To(ContainSubstring("5 pods: web-0, web-1, web-2 and 2 more"))
	})

	It("that were not injected are noticed to go, though nobody watches them", func() {
		s := newShop()
		old := s.pod("web-1")
		p := s.policy("policy")
		Eventually(condition(p, "Attached")).Should(Equal("False/PodsNotInjected"))
		s.pod("web-2", reports("policy", digestOf(p)))
		Expect(api.Delete(suite, old, client.GracePeriodSeconds(0))).To(Succeed())
		Eventually(condition(p, "Attached")).Should(Equal("True/Attached"))
	})

	It("that were not injected are noticed to come while the namespace is not enabled", func() {
		s := shopLabelled(map[string]string{})
		p := s.policy("policy")
		Eventually(condition(p, "Attached")).Should(Equal("Unknown/NoMatchingPods"))
		s.pod("web-1")
		Eventually(condition(p, "Attached")).Should(Equal("False/NamespaceNotEnabled"))

		By("the command that the message names")
		s.relabel(map[string]string{v1alpha1.LabelInjection: v1alpha1.InjectionEnabled})
		Eventually(condition(p, "Attached")).Should(Equal("False/PodsNotInjected"))
	})

	It("are followed from report to report, and through new rules", func() {
		s := newShop()
		p := s.policy("policy")
		first := digestOf(p)
		pod := s.pod("web-1", injected("policy"))
		Eventually(condition(p, "Attached")).Should(Equal("False/PodsPending"))
		reports("policy", first)(pod)
		Expect(api.Status().Update(suite, pod)).To(Succeed())
		Eventually(condition(p, "Attached")).Should(Equal("True/Attached"))

		change(p, func() { p.Spec.Rules.Text.Ingress = "tcp dport 22 drop" })
		Eventually(condition(p, "Attached")).Should(Equal("False/PodsOutdated"))
		second := digestOf(p)
		next := s.pod("web-2", reports("policy", second))
		Expect(api.Delete(suite, pod, client.GracePeriodSeconds(0))).To(Succeed())
		Eventually(condition(p, "Attached")).Should(Equal("True/Attached"))

		By("another label, with which the policy no longer selects it")
		change(next, func() { next.Labels["app"] = "db" })
		Eventually(condition(p, "Attached")).Should(Equal("Unknown/NoMatchingPods"))
	})

	It("of several policies are judged for each", func() {
		s := newShop()
		a, b := s.policy("a"), s.policy("b", ingress("tcp dport 22 drop"))
		digest := digestOf(a)
		digestOf(b)
		s.pod("web-1", reports("a", digest))
		Eventually(condition(a, "Attached")).Should(Equal("True/Attached"))
		Eventually(condition(b, "Attached")).Should(Equal("False/PodsOutdated"))
	})

	It("of a policy with an invalid selector are not counted, and the others' are", func() {
		s := newShop()
		s.pod("web-1", injected("good"))
		bad := s.policy("bad", func(p *v1alpha1.FunnelPolicy) {
			p.Spec.PodSelector = metav1.LabelSelector{MatchLabels: map[string]string{"app": "not a value!"}}
		})
		good := s.policy("good")
		Eventually(condition(bad, "Accepted")).Should(Equal("False/Invalid"))
		Eventually(condition(good, "Attached")).Should(Equal("False/PodsPending"))
	})
})

var _ = Describe("Without listing pods again", Ordered, func() {
	BeforeAll(func() { startOperator(withoutPolling) })

	It("reports of injected pods are heard of", func() {
		s := newShop()
		p := s.policy("policy")
		digest := digestOf(p)
		pod := s.pod("web-1", injected("policy"))
		Eventually(condition(p, "Attached")).Should(Equal("False/PodsPending"))
		reports("policy", digest)(pod)
		Expect(api.Status().Update(suite, pod)).To(Succeed())
		Eventually(condition(p, "Attached")).Should(Equal("True/Attached"))
		Expect(api.Delete(suite, pod, client.GracePeriodSeconds(0))).To(Succeed())
		Eventually(condition(p, "Attached")).Should(Equal("Unknown/NoMatchingPods"))
	})

	It("labels of the namespace are heard of", func() {
		s := newShop()
		p := s.policy("policy")
		Eventually(condition(p, "Attached")).Should(Equal("Unknown/NoMatchingPods"))
		s.relabel(map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
		Eventually(condition(p, "Attached")).Should(Equal("False/PodSecurityForbids"))
		s.relabel(map[string]string{"pod-security.kubernetes.io/enforce": "privileged"})
		Eventually(condition(p, "Attached")).Should(Equal("Unknown/NoMatchingPods"))
	})

	It("Services in front are heard of", func() {
		s := newShop()
		p := s.policy("policy")
		Eventually(condition(p, "SessionAffinity")).Should(Equal("Unknown/NoServices"))
		service := s.service("collector")
		Eventually(condition(p, "SessionAffinity")).Should(Equal("True/ClientIP"))
		change(service, func() { service.Spec.SessionAffinity = corev1.ServiceAffinityNone })
		Eventually(condition(p, "SessionAffinity")).Should(Equal("False/AffinityNone"))
	})
})
