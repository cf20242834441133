// SPDX-License-Identifier: Apache-2.0

package schema

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

var _ = Describe("a fresh object", func() {
	It("reads as in progress, as manifests create it", func() {
		object := with("").object()
		object.SetName("fresh-yaml")
		create(object)
		Expect(observedGeneration(object)).To(BeEquivalentTo(-1), "in the answer to create")
		Expect(observedGeneration(read(object))).To(BeEquivalentTo(-1))
	})
	It("reads as in progress, also when somebody sends a status with it", func() {
		object := with("").object()
		object.SetName("fresh-status")
		Expect(unstructured.SetNestedField(object.Object, int64(1), "status", "observedGeneration")).To(Succeed())
		create(object)
		Expect(observedGeneration(read(object))).To(BeEquivalentTo(-1))
	})
	It("reads as in progress, as a Go client creates it with a zero status", func() {
		p := fresh("fresh-go")
		create(p)
		Expect(api.Get(ctx, client.ObjectKeyFromObject(p), p)).To(Succeed())
		Expect(p.Status.ObservedGeneration).To(BeEquivalentTo(-1))
		Expect(p.Generation).To(BeEquivalentTo(1))
	})
	It("has its defaults", func() {
		object := with("").object()
		object.SetName("fresh-defaults")
		create(object)
		stored := read(object).Object["spec"].(map[string]any)
		Expect(stored).To(HaveKeyWithValue("mtu", "Warn"))
		Expect(stored).To(HaveKeyWithValue("updateStrategy", "OnRecreate"))
		Expect(stored).To(HaveKeyWithValue("priority", BeEquivalentTo(0)))
	})
	It("has its defaults as a backend", func() {
		object := backend("").object()
		object.SetName("fresh-backend")
		create(object)
		stored := read(object).Object["spec"].(map[string]any)["backend"].(map[string]any)
		Expect(stored).To(HaveKeyWithValue("encapsulation", "Auto"))
		Expect(stored).To(HaveKeyWithValue("sourcePorts", map[string]any{"tcp": "540-547", "udp": "548-555"}))
		Expect(stored["through"]).To(HaveKeyWithValue("protocol", "TCP"))
		Expect(stored["ports"]).To(ConsistOf(HaveKeyWithValue("protocol", "TCP")))
	})
})

var _ = Describe("a status", func() {
	It("that lacks observedGeneration reads as in progress", func() {
		object := with("").object()
		object.SetName("status-without-generation")
		create(object)
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"status":{"observedGeneration":null,"configMap":"x"}}`))
		Expect(api.Status().Patch(ctx, object, patch)).To(Succeed())
		Expect(observedGeneration(read(object))).To(BeEquivalentTo(-1))
	})
	It("keeps what the controller wrote, and does not change the generation", func() {
		p := fresh("status-kept")
		create(p)
		p.Status.ObservedGeneration = p.Generation
		p.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady, LastTransitionTime: metav1.Now()}}
		Expect(api.Status().Update(ctx, p)).To(Succeed())
		stored := &v1alpha1.FunnelPolicy{}
		Expect(api.Get(ctx, client.ObjectKeyFromObject(p), stored)).To(Succeed())
		Expect(stored.Status.ObservedGeneration).To(BeEquivalentTo(1))
		Expect(stored.Generation).To(BeEquivalentTo(1))
		Expect(stored.Status.Conditions).To(HaveLen(1))
	})
})

func fresh(name string) *v1alpha1.FunnelPolicy {
	return &v1alpha1.FunnelPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       v1alpha1.FunnelPolicySpec{Rules: v1alpha1.Rules{Text: &v1alpha1.RulesText{Egress: "udp drop"}}},
	}
}

func create(object client.Object) {
	GinkgoHelper()
	Expect(api.Create(ctx, object)).To(Succeed())
	DeferCleanup(func() { Expect(api.Delete(ctx, object)).To(Succeed()) })
}

func read(object *unstructured.Unstructured) *unstructured.Unstructured {
	GinkgoHelper()
	stored := object.DeepCopy()
	Expect(api.Get(ctx, client.ObjectKeyFromObject(object), stored)).To(Succeed())
	return stored
}

func observedGeneration(object *unstructured.Unstructured) any {
	GinkgoHelper()
	generation, found, err := unstructured.NestedFieldNoCopy(object.Object, "status", "observedGeneration")
	Expect(err).NotTo(HaveOccurred())
	Expect(found).To(BeTrue(), "no status.observedGeneration")
	return generation
}
