// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

var _ = Describe("What people and tools see", Ordered, func() {
	BeforeAll(func() { startOperator() })

	It("is in progress before the operator looked, then current", func() {
		s := newShop()
		fresh := &v1alpha1.FunnelPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: "policy"},
			Spec:       v1alpha1.FunnelPolicySpec{Rules: v1alpha1.Rules{Text: &v1alpha1.RulesText{Ingress: backendRules}}},
		}
		Expect(api.Create(suite, fresh, client.DryRunAll)).To(Succeed())
		Expect(fresh.Status.ObservedGeneration).To(BeEquivalentTo(-1))
		Expect(rollout(asSeen(fresh))).To(Equal("InProgress"))

		p := s.policy("policy")
		Eventually(progress(p)).Should(Equal("Current"))

		By("an invalid edit")
		change(p, func() { p.Spec.Rules.Text.Ingress = "nonsense" })
		Eventually(progress(p)).Should(Equal("Failed"))

		By("a reference that is not there yet")
		change(p, func() { through("collector")(p) })
		Eventually(progress(p)).Should(Equal("InProgress"))
		s.service("collector")
		Eventually(progress(p)).Should(Equal("Current"))
		Expect(statusOf(p).ObservedGeneration).To(BeEquivalentTo(3))
	})

	It("are Events about what changed", func() {
		s := newShop()
		p := s.policy("policy")
		digest := digestOf(p)
		s.pod("web-1", reports("policy", digest))
		Eventually(condition(p, "Attached")).Should(Equal("True/Attached"))
		change(p, func() { p.Spec.Rules.Text.Ingress = "nonsense" })
		Eventually(condition(p, "Accepted")).Should(Equal("False/Invalid"))
		Eventually(eventsOf(p)).Should(ConsistOf("Normal Programmed", "Normal Attached", "Warning Invalid", "Warning StaleRules"))
	})

	It("are metrics", func() {
		s := newShop()
		p := s.policy("policy")
		s.pod("web-1", reports("policy", digestOf(p)))
		s.pod("web-2", injected("policy"))
		Eventually(podCounts(p)).Should(HaveField("Matched", BeEquivalentTo(2)))
		Eventually(func() float64 { return metric("sfunnel_policy_pods", string(s), "attached") }).Should(Equal(1.0))
		Expect(metric("sfunnel_policy_pods", string(s), "pending")).To(Equal(1.0))
		Expect(metric("sfunnel_policy_pods", string(s), "failed")).To(Equal(0.0))
		Expect(metric("sfunnel_policies", "Ready", "True")).To(BeNumerically(">=", 1))

		before := metric("sfunnel_apply_errors_total", "configmap")
		other := newShop()
		other.allowNoConfigMaps()
		other.policy("policy")
		Eventually(func() float64 { return metric("sfunnel_apply_errors_total", "configmap") }).Should(BeNumerically(">", before))
	})
})

// progress reads how a deployment tool sees the policy.
func progress(p *v1alpha1.FunnelPolicy) func() string {
	return func() string {
		now := &v1alpha1.FunnelPolicy{}
		if err := api.Get(suite, keyOf(p), now); err != nil {
			return err.Error()
		}
		return rollout(asSeen(now))
	}
}

// rollout follows kstatus, which deployment tools judge objects of any kind by:
// an old observedGeneration or Reconciling is in progress, Stalled has failed,
// and of Ready only True is current.
func rollout(generation, observed int64, conditions []metav1.Condition) string {
	is := map[string]metav1.ConditionStatus{}
	for _, c := range conditions {
		is[c.Type] = c.Status
	}
	switch {
	case generation != observed, is["Reconciling"] == metav1.ConditionTrue:
		return "InProgress"
	case is["Stalled"] == metav1.ConditionTrue:
		return "Failed"
	case is["Ready"] == metav1.ConditionTrue:
		return "Current"
	}
	return "InProgress"
}

func asSeen(p *v1alpha1.FunnelPolicy) (generation, observed int64, conditions []metav1.Condition) {
	return p.Generation, p.Status.ObservedGeneration, p.Status.Conditions
}

// eventsOf reads "Type Reason" of the Events about the policy.
func eventsOf(p *v1alpha1.FunnelPolicy) func() ([]string, error) {
	return ofEvents(p, func(e *eventsv1.Event) []string { return []string{fmt.Sprintf("%s %s", e.Type, e.Reason)} })
}

// notesOf reads the notes of those of that type and reason.
func notesOf(p *v1alpha1.FunnelPolicy, kind, reason string) func() ([]string, error) {
	return ofEvents(p, func(e *eventsv1.Event) []string {
		if e.Type != kind || e.Reason != reason {
			return nil
		}
		return []string{e.Note}
	})
}

// ofEvents reads what tell says of each Event about the policy.
func ofEvents(p *v1alpha1.FunnelPolicy, tell func(*eventsv1.Event) []string) func() ([]string, error) {
	return func() ([]string, error) {
		var list eventsv1.EventList
		err := api.List(suite, &list, client.InNamespace(p.Namespace))
		var told []string
		for i := range list.Items {
			if e := &list.Items[i]; e.Regarding.UID == p.UID {
				told = append(told, tell(e)...)
			}
		}
		return told, err
	}
}

// metric gathers the value with these label values, -1 when there is none.
func metric(name string, labels ...string) float64 {
	GinkgoHelper()
	value, err := gathered(name, labels...)
	Expect(err).NotTo(HaveOccurred())
	return value
}

func gathered(name string, labels ...string) (float64, error) {
	families, err := metrics.Registry.(prometheus.Gatherer).Gather()
	if err != nil {
		return 0, err
	}
	for _, family := range families {
		for _, m := range family.Metric {
			if family.GetName() == name && sameLabels(m, labels) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue(), nil
			}
		}
	}
	return -1, nil
}

func sameLabels(m *dto.Metric, values []string) bool {
	if len(m.Label) != len(values) {
		return false
	}
	for i, label := range m.Label {
		if label.GetValue() != values[i] {
			return false
		}
	}
	return true
}
