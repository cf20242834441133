// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"cmp"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/internal/docs"
)

var _ = It("accepts each object that the documentation shows", func() {
	pages, err := docs.Pages()
	Expect(err).NotTo(HaveOccurred())
	objects := 0
	for _, page := range pages {
		for _, block := range page.Blocks("yaml") {
			By(page.Place(block.Line))
			for _, object := range documents(block.Text) {
				objects++
				tries(object)
			}
		}
	}
	Expect(objects).To(BeNumerically(">=", 18))
})

// tries to create the object, in a namespace that is there, and leaves nothing
// but that. A FunnelPolicy is right without a server, too.
func tries(object *unstructured.Unstructured) {
	GinkgoHelper()
	if name := object.GetNamespace(); name != "" {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		Expect(client.IgnoreAlreadyExists(api.Create(ctx, namespace))).To(Succeed())
	}
	if object.GetKind() == "FunnelPolicy" {
		named := object.DeepCopy()
		named.SetNamespace(cmp.Or(object.GetNamespace(), "default"))
		Expect(offline(named)).To(BeEmpty())
	}
	strict := client.NewDryRunClient(client.WithFieldValidation(api, metav1.FieldValidationStrict))
	Expect(client.IgnoreAlreadyExists(strict.Create(ctx, object))).To(Succeed(), "%s %s", object.GetKind(), object.GetName())
}

// documents are the objects of a text in YAML, in their order.
func documents(text string) []*unstructured.Unstructured {
	GinkgoHelper()
	var objects []*unstructured.Unstructured
	for _, document := range strings.Split(text, "\n---\n") {
		objects = append(objects, manifest(document).object())
	}
	return objects
}
