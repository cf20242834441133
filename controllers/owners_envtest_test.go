// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

var _ = Describe("What installers write to a policy", func() {
	It("stays theirs when its status is written", func() {
		startOperator()
		s := newShop()
		p := &v1alpha1.FunnelPolicy{}
		p.Namespace, p.Name = string(s), "policy"
		applied := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(), "kind": "FunnelPolicy",
			"metadata": map[string]any{
				"namespace": p.Namespace, "name": p.Name, "finalizers": []any{"example.com/theirs"},
				"labels": map[string]any{"theirs": "label"}, "annotations": map[string]any{"theirs": "annotation"},
			},
			"spec": map[string]any{"podSelector": map[string]any{}, "rules": map[string]any{"text": map[string]any{"ingress": backendRules}}},
		}}
		Expect(api.Apply(suite, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("installer"))).To(Succeed())
		Eventually(condition(p, "Ready")).ShouldNot(BeEmpty())
		Expect(api.Get(suite, keyOf(p), p)).To(Succeed())
		DeferCleanup(func() { change(p, func() { p.Finalizers = nil }) })
		Expect(p.Labels).To(HaveKey("theirs"))
		Expect(p.Annotations).To(HaveKey("theirs"))
		var owned string
		for _, entry := range p.ManagedFields {
			if entry.Manager == "installer" && entry.Operation == metav1.ManagedFieldsOperationApply {
				owned += string(entry.FieldsV1.GetRawBytes())
			}
		}
		for _, part := range []string{"f:labels", "f:annotations", "f:finalizers"} {
			Expect(strings.Contains(owned, part)).To(BeTrue(), "%s of %s", part, owned)
		}
	})
})
