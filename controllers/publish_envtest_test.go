// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

var _ = Describe("Rules", Ordered, func() {
	var o *operator
	BeforeAll(func() { o, _ = startOperator(withoutPolling) })

	It("are in a ConfigMap of one field manager, and nothing ties its life to the policy", func() {
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
		Expect(statusOf(p).ConfigMap).To(Equal("collector-funnel"))
	})

	It("are written when they differ, not when the policy does", func() {
		s := newShop()
		p := s.policy("collector")
		first := digestOf(p)
		change(p, func() { p.Spec.Rules.Text.Ingress = "# in other words\n" + backendRules })
		Expect(digestOf(p)).To(Equal(first))
		Expect(o.requests.writing("configmaps", string(s))).To(HaveLen(1))

		change(p, func() { p.Spec.Rules.Text.Ingress = backendRules + "\ntcp dport 22 drop" })
		Expect(digestOf(p)).NotTo(Equal(first))
		Expect(rulesOf(p).Data[v1alpha1.FileIngress]).To(HaveSuffix("tcp dport 22 actions drop\n"))
		Expect(o.requests.writing("configmaps", string(s))).To(HaveLen(2))
	})

	It("come back when somebody edits or deletes them, and leave alone what others added", func() {
		s := newShop()
		p := s.policy("collector")
		digestOf(p)
		want := rulesOf(p).Data[v1alpha1.FileIngress]

		c := rulesOf(p)
		change(c, func() {
			c.Data[v1alpha1.FileIngress] = "tcp dport 1 drop"
			c.Data["note"] = "by hand"
			c.Labels["team"] = "net"
		})
		Eventually(func() string { return rulesOf(p).Data[v1alpha1.FileIngress] }).Should(Equal(want))
		Expect(rulesOf(p).Data).To(HaveKeyWithValue("note", "by hand"))
		Expect(rulesOf(p).Labels).To(HaveKeyWithValue("team", "net"))

		Expect(api.Delete(suite, rulesOf(p))).To(Succeed())
		Eventually(func() *corev1.ConfigMap { return rulesOf(p) }).ShouldNot(BeNil())
		Expect(rulesOf(p).Data[v1alpha1.FileIngress]).To(Equal(want))
	})

	It("stay byte for byte through an invalid edit", func() {
		s := newShop()
		p := s.policy("collector")
		digest := digestOf(p)
		before := rulesOf(p)

		change(p, func() { p.Spec.Rules.Text.Ingress = "tcp dport 179 unfunel udp" })
		Eventually(condition(p, v1alpha1.ConditionProgrammed)).Should(Equal("False/StaleRules"))
		Expect(condition(p, v1alpha1.ConditionAccepted)()).To(Equal("False/Invalid"))
		Expect(message(p, v1alpha1.ConditionAccepted)()).To(ContainSubstring("spec.rules.text.ingress"))
		Expect(message(p, v1alpha1.ConditionAccepted)()).To(ContainSubstring("line 1, column 15"))
		Expect(rulesOf(p)).To(Equal(before))
		Expect(statusOf(p).RulesDigest).To(Equal(digest))

		change(p, func() { p.Spec.Rules.Text.Ingress = backendRules })
		Expect(digestOf(p)).To(Equal(digest))
		Expect(rulesOf(p)).To(Equal(before))
	})

	It("follow the addresses of a Service, and stay when it vanishes", func() {
		s := newShop()
		service := s.service("collector", ofType(corev1.ServiceTypeLoadBalancer))
		p := s.policy("exporter", selects("exporter"), through("collector"))
		digestOf(p)
		Expect(rulesOf(p).Data[v1alpha1.FileEgress]).To(ContainSubstring("daddr " + service.Spec.ClusterIP + " "))

		service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.7"}}
		Expect(api.Status().Update(suite, service)).To(Succeed())
		Eventually(func() string { return rulesOf(p).Data[v1alpha1.FileEgress] }).Should(ContainSubstring("192.0.2.7"))
		Eventually(func() []string { return statusOf(p).Services[0].Addresses }).Should(ConsistOf(service.Spec.ClusterIP, "192.0.2.7"))

		before := rulesOf(p)
		Expect(api.Delete(suite, service)).To(Succeed())
		Eventually(condition(p, v1alpha1.ConditionProgrammed)).Should(Equal("False/StaleRules"))
		Expect(condition(p, v1alpha1.ConditionResolvedRefs)()).To(Equal("False/ServiceNotFound"))
		Expect(rulesOf(p)).To(Equal(before))

		again := s.service("collector")
		Eventually(func() string { return rulesOf(p).Data[v1alpha1.FileEgress] }).Should(ContainSubstring("daddr " + again.Spec.ClusterIP + " "))
		Eventually(condition(p, v1alpha1.ConditionReady)).Should(Equal("True/Ready"))
	})

	It("follow a Service of another namespace", func() {
		s, other := newShop(), newShop()
		p := s.policy("exporter", selects("exporter"), through("collector"), func(p *v1alpha1.FunnelPolicy) {
			p.Spec.Rules.Egress[0].Match.Destination.Service.Namespace = string(other)
		})
		Eventually(condition(p, v1alpha1.ConditionResolvedRefs)).Should(Equal("False/ServiceNotFound"))
		Expect(rulesOf(p)).To(BeNil())
		service := other.service("collector")
		digestOf(p)
		Expect(rulesOf(p).Data[v1alpha1.FileEgress]).To(ContainSubstring(service.Spec.ClusterIP))
	})

	It("never go into somebody else's ConfigMap", func() {
		s := newShop()
		theirs := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: "collector-funnel"},
			Data:       map[string]string{v1alpha1.FileIngress: "theirs"},
		}
		Expect(api.Create(suite, theirs)).To(Succeed())
		p := s.policy("collector")
		Eventually(condition(p, v1alpha1.ConditionProgrammed)).Should(Equal("False/ConfigMapNotOwned"))
		Expect(condition(p, v1alpha1.ConditionStalled)()).To(Equal("True/ConfigMapNotOwned"))
		Expect(condition(p, v1alpha1.ConditionReady)()).To(Equal("False/ConfigMapNotOwned"))
		Expect(statusOf(p).ConfigMap).To(BeEmpty())
		Expect(rulesOf(p)).To(Equal(theirs))

		By("being handed over with the command that the message names")
		Expect(message(p, v1alpha1.ConditionProgrammed)()).To(ContainSubstring(
			"kubectl -n " + string(s) + " label configmap collector-funnel sfunnel.io/policy=collector --overwrite"))
		change(theirs, func() { theirs.Labels = map[string]string{v1alpha1.LabelPolicy: "collector"} })
		digestOf(p)
		Expect(rulesOf(p).UID).To(Equal(theirs.UID))
		Expect(rulesOf(p).Data[v1alpha1.FileIngress]).To(Equal(backendRules + "\n"))
		Expect(condition(p, v1alpha1.ConditionStalled)()).To(BeEmpty())
	})

	It("are published when somebody else's ConfigMap is gone, though it is not watched", func() {
		s := newShop()
		theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: "collector-funnel"}}
		Expect(api.Create(suite, theirs)).To(Succeed())
		p := s.policy("collector")
		Eventually(condition(p, v1alpha1.ConditionProgrammed)).Should(Equal("False/ConfigMapNotOwned"))
		Expect(api.Delete(suite, theirs)).To(Succeed())
		digestOf(p)
	})

	It("for clients outside the cluster are published when somebody else's ConfigMap is gone", func() {
		s := newShop()
		s.service("collector")
		theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: "collector-external"}}
		Expect(api.Create(suite, theirs)).To(Succeed())
		p := s.policy("collector", behind("collector"))
		Eventually(condition(p, v1alpha1.ConditionWarnings)).Should(Equal("True/ConfigMapNotOwned"))
		Expect(api.Delete(suite, theirs)).To(Succeed())
		Eventually(condition(p, v1alpha1.ConditionWarnings)).ShouldNot(Equal("True/ConfigMapNotOwned"))
		Expect(externalOf(p).Labels).To(HaveKeyWithValue(v1alpha1.LabelPolicy, "collector"))
	})

	It("never go into a ConfigMap that took the place of the one that was seen", func() {
		s := newShop()
		p := s.policy("collector", ingress("nonsense")) // so that the operator itself writes nothing
		theirs := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: "collector-funnel"},
			Data:       map[string]string{"file": "theirs"}, // nothing that an apply could conflict with
		}
		Expect(api.Create(suite, theirs)).To(Succeed())
		ours := content{data: map[string]string{v1alpha1.FileIngress: "ours"}}

		By("none having been seen")
		Expect(apierrors.IsConflict(o.apply(suite, p, theirs.Name, nil, ours, &written{}))).To(BeTrue())
		Expect(rulesOf(p)).To(Equal(theirs))

		By("another having been seen")
		seen := theirs.DeepCopy()
		change(theirs, func() { theirs.Annotations = map[string]string{"changed": "since"} })
		Expect(apierrors.IsConflict(o.apply(suite, p, theirs.Name, seen, ours, &written{}))).To(BeTrue())
		Expect(rulesOf(p)).To(Equal(theirs))
	})

	It("are tried again when they could not be written", func() {
		s := newShop()
		quota := s.allowNoConfigMaps()
		p := s.policy("collector")
		Eventually(condition(p, v1alpha1.ConditionProgrammed)).Should(Equal("False/ApplyFailed"))
		Expect(message(p, v1alpha1.ConditionProgrammed)()).To(ContainSubstring("exceeded quota"))
		Expect(condition(p, v1alpha1.ConditionReconciling)()).To(Equal("True/Waiting"))

		Expect(api.Delete(suite, quota)).To(Succeed())
		digestOf(p)
		Eventually(condition(p, v1alpha1.ConditionReconciling)).Should(BeEmpty())
	})
})

var _ = Describe("What can't be written", Ordered, func() {
	BeforeAll(func() { startOperator(withoutPolling) })

	It("leaves known what pods run meanwhile", func() {
		s := newShop()
		p := s.policy("collector")
		before := digestOf(p)
		s.pod("web-1", reports("collector", before))
		Eventually(condition(p, v1alpha1.ConditionAttached)).Should(Equal("True/Attached"))
		c := rulesOf(p)
		change(c, func() { c.Immutable = ptr.To(true) })
		change(p, func() { p.Spec.Rules.Text.Ingress = "tcp dport 22 drop" })
		Eventually(condition(p, v1alpha1.ConditionProgrammed)).Should(Equal("False/ApplyFailed"))
		Expect(statusOf(p).RulesDigest).To(Equal(before))
		Expect(condition(p, v1alpha1.ConditionAttached)()).To(Equal("True/Attached"))

		Expect(api.Delete(suite, c)).To(Succeed())
		Expect(digestOf(p)).NotTo(Equal(before))
	})

	It("is in the status when it is for clients outside the cluster", func() {
		s := newShop()
		s.service("collector", ofType(corev1.ServiceTypeLoadBalancer))
		quota := s.allowConfigMaps("1")
		p := s.policy("collector", behind("collector"))
		digestOf(p)
		Eventually(condition(p, v1alpha1.ConditionWarnings)).Should(Equal("True/ApplyFailed"))
		Expect(message(p, v1alpha1.ConditionWarnings)()).To(And(ContainSubstring("collector-external"), ContainSubstring("exceeded quota")))
		Expect(api.Delete(suite, quota)).To(Succeed())
		Eventually(func() *corev1.ConfigMap { return externalOf(p) }).ShouldNot(BeNil())
		Eventually(condition(p, v1alpha1.ConditionWarnings)).Should(Equal("False/NoWarnings"))
	})
})

var _ = Describe("Policies that can meet on a pod", Ordered, func() {
	BeforeAll(func() { startOperator(withoutPolling) })

	const one, other = "tcp dport 22 drop", "tcp dport 22 accept"

	It("yield to the older one when they contradict each other, until one changes", func() {
		s := newShop()
		older := s.policy("a-older", ingress(one))
		digestOf(older)
		younger := s.policy("b-younger", ingress(other), func(p *v1alpha1.FunnelPolicy) {
			p.Spec.PodSelector.MatchLabels = map[string]string{"tier": "front"} // a pod can have both labels
		})
		Eventually(condition(younger, v1alpha1.ConditionAccepted)).Should(Equal("False/Conflicted"))
		Expect(message(younger, v1alpha1.ConditionAccepted)()).To(ContainSubstring("a-older"))
		Expect(condition(younger, v1alpha1.ConditionProgrammed)()).To(Equal("False/NeverProgrammed"))
		Expect(condition(younger, v1alpha1.ConditionStalled)()).To(Equal("True/Conflicted"))
		Expect(rulesOf(younger)).To(BeNil())
		Expect(condition(older, v1alpha1.ConditionAccepted)()).To(Equal("True/Accepted"))

		By("an edit of the older one that does not compile: its last good rules still count")
		change(older, func() { older.Spec.Rules.Text.Ingress = "nonsense" })
		Eventually(condition(older, v1alpha1.ConditionAccepted)).Should(Equal("False/Invalid"))
		Consistently(condition(younger, v1alpha1.ConditionAccepted), "500ms").Should(Equal("False/Conflicted"))

		By("an edit of the older one that ends the contradiction")
		change(older, func() { older.Spec.Rules.Text.Ingress = other })
		digestOf(younger)

		By("an edit of the younger one that brings it back: its last good rules stay")
		before := rulesOf(younger)
		change(younger, func() { younger.Spec.Rules.Text.Ingress = one })
		Eventually(condition(younger, v1alpha1.ConditionProgrammed)).Should(Equal("False/StaleRules"))
		Expect(rulesOf(younger)).To(Equal(before))

		By("the older one being deleted")
		Expect(api.Delete(suite, older)).To(Succeed())
		digestOf(younger)
		Expect(rulesOf(younger).Data[v1alpha1.FileIngress]).To(Equal("tcp dport 22 actions drop\n"))
	})

	It("hear of what decides about them by way of others", func() {
		s := newShop()
		first := s.policy("a-first", ingress(one))
		digestOf(first)
		second := s.policy("b-second", ingress(other), func(p *v1alpha1.FunnelPolicy) { p.Spec.PodSelector.MatchLabels = nil })
		Eventually(condition(second, v1alpha1.ConditionAccepted)).Should(Equal("False/Conflicted"))
		third := s.policy("c-third", ingress(one), selects("db")) // which no pod of the first has, too
		digestOf(third)

		Expect(api.Delete(suite, first)).To(Succeed())
		digestOf(second)
		Eventually(condition(third, v1alpha1.ConditionAccepted)).Should(Equal("False/Conflicted"))
	})

	It("hear of what another namespace does to an older client among them", func() {
		there, s := newShop(), shopLabelled(map[string]string{"client": "yes"})
		service := there.service("collector")
		backend := there.policy("collector", behind("collector"))
		client := s.policy("a-client", clientOf(there, "collector"))
		Eventually(condition(client, "ResolvedRefs")).Should(Equal("False/BackendNotAttached"))
		younger := s.policy("b-younger", selects("client"), egress("ip daddr "+service.Spec.ClusterIP+" tcp dport 8080 accept"))
		Eventually(condition(younger, v1alpha1.ConditionAccepted)).Should(Equal("False/Conflicted"))
		change(backend, func() { backend.Spec.Backend.Ports[0].Port = 8081 })
		digestOf(younger)

		By("and its Service")
		change(backend, func() { backend.Spec.Backend.Ports[0].Port = 8080 })
		Eventually(condition(younger, v1alpha1.ConditionAccepted)).Should(Equal("False/Conflicted"))
		Expect(api.Delete(suite, service)).To(Succeed())
		there.service("other") // takes an address
		there.service("collector")
		Eventually(condition(younger, v1alpha1.ConditionAccepted)).Should(Equal("True/Accepted"))
	})

	It("hear of an older client that may have no rules any more, though it had some", func() {
		there, s := newShop(), shopLabelled(map[string]string{"client": "yes"})
		service := there.service("collector")
		backend := there.policy("collector", behind("collector"))
		there.pod("web-1", reports("collector", digestOf(backend)))
		there.endpoints("collector", "web-1")
		client := s.policy("a-client", clientOf(there, "collector"))
		digestOf(client)
		younger := s.policy("b-younger", selects("client"), egress("ip daddr "+service.Spec.ClusterIP+" tcp dport 8080 accept"))
		Eventually(condition(younger, v1alpha1.ConditionAccepted)).Should(Equal("False/Conflicted"))

		s.relabel(map[string]string{"client": "no"})
		Eventually(egressOf(client)).Should(BeEmpty())
		Eventually(condition(younger, v1alpha1.ConditionAccepted)).Should(Equal("True/Accepted"))
	})

	It("hear of an older one whose last good rules somebody deletes", func() {
		s := newShop()
		older := s.policy("a-older", ingress(one))
		digestOf(older)
		change(older, func() { older.Spec.Rules.Text.Ingress = "nonsense" })
		Eventually(condition(older, v1alpha1.ConditionAccepted)).Should(Equal("False/Invalid"))
		younger := s.policy("b-younger", ingress(other))
		Eventually(condition(younger, v1alpha1.ConditionAccepted)).Should(Equal("False/Conflicted"))

		Expect(api.Delete(suite, rulesOf(older))).To(Succeed())
		Eventually(condition(younger, v1alpha1.ConditionAccepted)).Should(Equal("True/Accepted"))
	})

	It("yield before their rules are released, and then too", func() {
		s := newShop()
		service := s.service("collector")
		older := s.policy("a-older", selects("client"), egress("ip daddr "+service.Spec.ClusterIP+" tcp dport 8080 accept"))
		digestOf(older)
		backend, client := s.policy("collector", behind("collector")), s.policy("client", clientOf(s, "collector"))
		Eventually(condition(client, v1alpha1.ConditionAccepted)).Should(Equal("False/Conflicted"))
		s.pod("web-1", reports("collector", digestOf(backend)))
		s.endpoints("collector", "web-1")
		Eventually(condition(backend, "Coverage")).Should(Equal("True/EndpointsCovered"))
		Consistently(egressOf(client), "500ms").Should(BeEmpty())
		Expect(condition(client, v1alpha1.ConditionAccepted)()).To(Equal("False/Conflicted"))

		Expect(api.Delete(suite, older)).To(Succeed())
		Eventually(egressOf(client)).Should(ContainSubstring("funnel tcp dport 179 inline"))
	})

	It("do not conflict when no pod can have both", func() {
		s := newShop()
		digestOf(s.policy("a", ingress(one)))
		digestOf(s.policy("b", ingress(other), selects("db")))
	})
})
