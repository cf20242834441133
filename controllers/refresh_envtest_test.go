// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
	"github.com/sfunnel-io/funnel-operator/internal/report"
)

var _ = Describe("Running pods", func() {
	const old = "sha256:other"

	It("are brought new rules a few at a time, once each, whoever asks", func() {
		startOperator(withoutPolling)
		s := newShop()
		for i := range 4 {
			s.pod(fmt.Sprintf("web-%d", i), reports("policy", old))
		}
		p := s.policy("policy", updatedInPlace, func(p *v1alpha1.FunnelPolicy) {
			two := intstr.FromInt32(2)
			p.Spec.InPlace = &v1alpha1.InPlaceUpdate{MaxUnavailable: &two}
		})
		digest := digestOf(p)
		Eventually(s.refreshes("web-0", "web-1", "web-2", "web-3")).Should(Equal("1 1 0 0"))
		c := s.podNow("web-0").Spec.EphemeralContainers[0]
		Expect(inject.Awaits(c, "policy")).To(Equal(digest))
		Expect(c.SecurityContext.Capabilities.Add).To(ConsistOf(BeEquivalentTo("BPF"), BeEquivalentTo("NET_ADMIN"), BeEquivalentTo("PERFMON")))
		s.endRefresh("web-0", 0, attachedTo("policy", digest))
		Eventually(s.refreshes("web-0", "web-1", "web-2", "web-3")).Should(Equal("1 1 1 0"))

		By("going on after the operator started anew")
		startOperator(withoutPolling)
		s.endRefresh("web-1", 0, attachedTo("policy", digest))
		s.endRefresh("web-2", 0, attachedTo("policy", digest))
		s.endRefresh("web-3", 0, attachedTo("policy", digest))
		Eventually(condition(p, "Attached")).Should(Equal("True/Attached"))
		Expect(s.refreshes("web-0", "web-1", "web-2", "web-3")()).To(Equal("1 1 1 1"))
	})

	It("keep the SELinux label with which attaching was permitted", func() {
		startOperator(withoutPolling)
		s := newShop()
		s.pod("web-1", reports("policy", old), func(p *corev1.Pod) {
			p.Spec.InitContainers[0].SecurityContext = &corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Type: "spc_t"}}
		})
		s.policy("policy", updatedInPlace)
		Eventually(s.refreshes("web-1")).Should(Equal("1"))
		Expect(s.podNow("web-1").Spec.EphemeralContainers[0].SecurityContext.SELinuxOptions).To(Equal(&corev1.SELinuxOptions{Type: "spc_t"}))
	})

	It("keep their flows, by one capability more", func() {
		startOperator(withoutPolling)
		s := newShop()
		line := report.Report{Result: report.Attached, KeepsFlows: true, Digests: map[string]string{"policy": old}}.Marshal(0)
		s.pod("web-1", ends("policy", corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: string(line)}}))
		s.policy("policy", updatedInPlace)
		Eventually(s.refreshes("web-1")).Should(Equal("1"))
		Expect(s.podNow("web-1").Spec.EphemeralContainers[0].SecurityContext.Capabilities.Add).To(ContainElement(BeEquivalentTo("SYS_ADMIN")))
	})

	It("don't wait for long for one that can't be, and nothing is written while it lasts", func() {
		o, _ := startOperator(withoutPolling)
		s := newShop()
		s.pod("web-0", reports("policy", old), func(p *corev1.Pod) { p.Spec.NodeName = "n1" })
		s.pod("web-1", reports("policy", old))
		p := s.policy("policy", updatedInPlace)
		digest := digestOf(p)
		Eventually(condition(p, "Attached")).Should(Equal("False/PodsRefreshing"))
		o.untilQuiet()
		Expect(s.refreshes("web-0", "web-1")()).To(Equal("1 0"))

		By("looking again when it has taken too long")
		result, err := o.Reconcile(suite, ctrl.Request{NamespacedName: keyOf(p)})
		Expect(err).NotTo(HaveOccurred())
		Expect(result.RequeueAfter).To(And(BeNumerically(">", time.Second), BeNumerically("<=", 5*time.Minute)))
		s.ageRefresh("web-0", 5*time.Minute)
		Eventually(s.refreshes("web-0", "web-1")).Should(Equal("1 1"))
		Eventually(condition(p, "Attached")).Should(Equal("False/RefreshStalled"))
		Expect(message(p, "Attached")()).To(ContainSubstring("web-0 (not started by node n1)"))
		Eventually(func() float64 { return metric("sfunnel_policies_not_refreshed", string(s), "RefreshStalled") }).Should(Equal(1.0))

		By("going on as before")
		s.endRefresh("web-1", 0, attachedTo("policy", digest))
		Eventually(message(p, "Attached")).ShouldNot(ContainSubstring("Being refreshed"))
		o.untilQuiet()
		before := len(o.requests.writing())
		for range 50 {
			o.clock.advance(time.Hour)
			lookOnce(o, p)
		}
		Expect(o.requests.writing()[before:]).To(BeEmpty())
		s.endRefresh("web-0", 0, attachedTo("policy", digest))
		Eventually(condition(p, "Attached")).Should(Equal("True/Attached"))
	})

	It("are as few at a time where the operator's clock is ahead of the API server's", func() {
		o, _ := startOperator(withoutPolling)
		o.clock.advance(time.Hour)
		s := newShop()
		for i := range 4 {
			s.pod(fmt.Sprintf("web-%d", i), reports("policy", old))
		}
		p := s.policy("policy", updatedInPlace)
		Eventually(condition(p, "Attached")).Should(Equal("False/PodsRefreshing"))
		o.untilQuiet()
		Expect(s.refreshes("web-0", "web-1", "web-2", "web-3")()).To(Equal("1 0 0 0"))
	})

	It("stay as they are after a failure, until the rules change", func() {
		startOperator(withoutPolling)
		s := newShop()
		s.pod("web-0", reports("policy", old))
		s.pod("web-1", reports("policy", old))
		p := s.policy("policy", updatedInPlace)
		s.endRefresh("web-0", 1, failed("boom"))
		Eventually(condition(p, "Attached")).Should(Equal("False/RefreshFailed"))
		Expect(s.refreshes("web-0", "web-1")()).To(Equal("1 0"))
		change(p, func() { p.Spec.Rules.Text.Ingress = "tcp dport 99 drop" })
		Eventually(s.refreshes("web-0", "web-1")).Should(Equal("2 0"))
	})
})

func updatedInPlace(p *v1alpha1.FunnelPolicy) { p.Spec.UpdateStrategy = v1alpha1.UpdateInPlace }

func failed(text string) string {
	return string(report.Report{Result: report.Failed, Error: text}.Marshal(0))
}

func attachedTo(policy, digest string) string {
	return string(report.Report{Result: report.Attached, Digests: map[string]string{policy: digest}}.Marshal(0))
}

// podNow reads a pod.
func (s shop) podNow(name string) *corev1.Pod {
	GinkgoHelper()
	pod := &corev1.Pod{}
	Expect(api.Get(suite, client.ObjectKey{Namespace: string(s), Name: name}, pod)).To(Succeed())
	return pod
}

// refreshes counts the refresh containers of each pod.
func (s shop) refreshes(names ...string) func() string {
	return func() string {
		var counts []int
		for _, name := range names {
			counts = append(counts, len(inject.Refreshes(s.podNow(name))))
		}
		text := fmt.Sprint(counts)
		return text[1 : len(text)-1]
	}
}

// endRefresh waits until a pod has a refresh container, and lets the last one end as
// the kubelet would tell.
func (s shop) endRefresh(name string, code int32, message string) {
	GinkgoHelper()
	Eventually(s.refreshes(name)).ShouldNot(Equal("0"))
	pod := s.podNow(name)
	all := inject.Refreshes(pod)
	pod.Status.EphemeralContainerStatuses = append(pod.Status.EphemeralContainerStatuses, corev1.ContainerStatus{
		Name:  all[len(all)-1].Name,
		State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Message: message, FinishedAt: metav1.Now()}},
	})
	Expect(api.Status().Update(suite, pod)).To(Succeed())
}

// ageRefresh makes the API server tell that the refresh containers of a pod were added that much
// earlier. It takes no time alone.
func (s shop) ageRefresh(name string, by time.Duration) {
	GinkgoHelper()
	pod := s.podNow(name)
	for i := range pod.ManagedFields {
		if entry := &pod.ManagedFields[i]; entry.Subresource == "ephemeralcontainers" {
			entry.Time = ptr.To(metav1.NewTime(entry.Time.Add(-by)))
		}
	}
	pod.Annotations = map[string]string{"aged": by.String()}
	Expect(api.Update(suite, pod)).To(Succeed())
}

// refuseRefreshes makes the API server refuse ephemeral containers in the namespace.
func (s shop) refuseRefreshes() {
	GinkgoHelper()
	name := "no-refresh-" + string(s)
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: string(s)}},
				ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods/ephemeralcontainers"}},
				}}},
			},
			Validations: []admissionregistrationv1.Validation{{Expression: "false", Message: "no ephemeral containers here"}},
		},
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}},
	}
	Expect(api.Create(suite, policy)).To(Succeed())
	Expect(api.Create(suite, binding)).To(Succeed())
	DeferCleanup(func() {
		Expect(api.Delete(suite, binding)).To(Succeed())
		Expect(api.Delete(suite, policy)).To(Succeed())
	})
	// It takes the API server a moment to know it.
	pod := s.podNow("web-1")
	container, err := inject.Refresh(pod, map[string]string{"policy": "probe"}, inject.KeepFlows, false)
	Expect(err).NotTo(HaveOccurred())
	pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, container)
	Eventually(func() error {
		return api.SubResource("ephemeralcontainers").Update(suite, pod.DeepCopy(), client.DryRunAll)
	}).Should(MatchError(ContainSubstring("no ephemeral containers here")))
}

var _ = Describe("A client that is updated in place", Ordered, func() {
	var o *operator
	BeforeAll(func() {
		o, _ = startOperator(withoutPolling, func(r *FunnelPolicyReconciler) { r.SettleFor = time.Hour })
	})

	It("gets its rules when all backends have been able to undo them for a while", func() {
		s := newShop()
		s.service("collector")
		backend := s.policy("collector", behind("collector"))
		p := s.policy("client", clientOf(s, "collector"), func(p *v1alpha1.FunnelPolicy) { p.Spec.UpdateStrategy = v1alpha1.UpdateInPlace })
		pod := s.pod("web-1", reports("collector", digestOf(backend)))
		slice := s.endpoints("collector", "web-1")
		Eventually(message(p, "ResolvedRefs")).Should(ContainSubstring("have just come to run its current rules"))
		Expect(condition(p, "ResolvedRefs")()).To(Equal("False/BackendNotAttached"))

		By("an endpoint without rules, which starts it anew")
		o.clock.advance(59 * time.Minute)
		change(slice, func() { slice.Endpoints = readyEndpoints([]string{pod.Name, "web-2"}) })
		Eventually(message(p, "ResolvedRefs")).Should(ContainSubstring("1 of 2 ready endpoints"))
		change(slice, func() { slice.Endpoints = readyEndpoints([]string{pod.Name}) })
		Eventually(message(p, "ResolvedRefs")).Should(ContainSubstring("have just come"))
		o.clock.advance(59 * time.Minute)
		_, err := o.Reconcile(suite, ctrl.Request{NamespacedName: keyOf(p)})
		Expect(err).NotTo(HaveOccurred())
		Consistently(egressOf(p), "300ms").Should(BeEmpty())

		By("an endpoint without rules that ends, however long that takes")
		ending := readyEndpoints([]string{pod.Name, "web-2"})
		ending[1].Conditions = discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)}
		change(slice, func() { slice.Endpoints = ending })
		Eventually(func() ([]discoveryv1.EndpointSlice, error) {
			return o.endpointSlices.of(types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]})
		}).Should(HaveExactElements(HaveField("Endpoints", HaveLen(2))))
		o.clock.advance(2 * time.Minute)
		_, err = o.Reconcile(suite, ctrl.Request{NamespacedName: keyOf(p)})
		Expect(err).NotTo(HaveOccurred())
		Consistently(egressOf(p), "300ms").Should(BeEmpty())

		By("which has ended")
		change(slice, func() { slice.Endpoints = readyEndpoints([]string{pod.Name}) })
		Eventually(condition(p, "Ready")).Should(Equal("True/Ready"))
		Expect(egressOf(p)()).To(ContainSubstring("funnel"))
	})
})
