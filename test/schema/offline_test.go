// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/config/crd"
	files "github.com/sfunnel-io/funnel-operator/internal/manifest"
	"github.com/sfunnel-io/funnel-operator/internal/schema"
)

// What holds for specs is in the tables of what is refused and accepted.
var _ = DescribeTable("metadata is judged alike without a server",
	func(metadata string, faults int) {
		object := manifest("apiVersion: sfunnel.io/v1alpha1\nkind: FunnelPolicy\nspec: {podSelector: {}, rules: {text: {egress: udp drop}}}\nmetadata: " + metadata)
		refused := refusals(object)
		Expect(refused).To(HaveLen(faults))
		Expect(offline(object.object())).To(ConsistOf(refused))
		lintAgrees(object, refused)
	},
	Entry("a name to be generated", "{namespace: default, generateName: web-}", 0),
	Entry("an empty name, and one to be generated", "{namespace: default, name: '', generateName: web-}", 0),
	Entry("a name to be generated that is too long", "{namespace: default, generateName: "+strings.Repeat("x", 48)+"}", 1),
	Entry("a name in capitals", "{namespace: default, name: Web}", 2),
	Entry("labels", "{namespace: default, name: web, labels: {a/b/c: x, d: x y}}", 2),
	Entry("a finalizer", "{namespace: default, name: web, finalizers: [x y]}", 1),
)

var _ = DescribeTable("unknown fields are told alike without a server",
	func(object manifest, paths ...string) {
		err := client.WithFieldValidation(client.NewDryRunClient(api), metav1.FieldValidationStrict).Create(ctx, object.object())
		for _, path := range paths {
			Expect(err).To(MatchError(ContainSubstring("unknown field %q", path)))
		}
		Expect(strings.Count(err.Error(), "unknown field")).To(Equal(len(paths)))
		Expect(kind().Prepare(object.object().Object)).To(ConsistOf(paths))
		lintAgrees(object, []fault{{"unknown field", ""}})
	},
	Entry("of the spec", with("priorty: 1\nmtus: Warn"), "spec.priorty", "spec.mtus"),
	Entry("of an item", rule("name: a\nmatch: {protocol: TCP, familly: IPv4}\ndrop: {}"), "spec.rules.egress[0].match.familly"),
	Entry("below one that is unknown", with("more: {a: 1}"), "spec.more"),
	Entry("in an action that has none", rule("match: {protocol: TCP}\ndrop: {reason: x}"), "spec.rules.egress[0].drop.reason"),
	Entry("of the metadata", manifest(strings.Replace(string(with("")), "metadata: {", "metadata: {lables: {}, ", 1)), "metadata.lables"),
	Entry("of the object", manifest(string(with(""))+"sepc: {}\n"), "sepc"),
)

var kind = sync.OnceValue(func() *schema.Kind {
	k, err := schema.New(crd.FunnelPolicy())
	Expect(err).NotTo(HaveOccurred())
	return k
})

// offline are the faults of an object by the schema alone, as refusals are those by
// the API server.
func offline(object *unstructured.Unstructured) []fault {
	GinkgoHelper()
	content := object.DeepCopy().Object
	Expect(kind().Prepare(content)).To(BeEmpty(), "unknown fields")
	found, _ := kind().Validate(content)
	var faults []fault
	for _, err := range found {
		faults = append(faults, fault{err.Field, err.ErrorBody()})
	}
	return faults
}

// lintAgrees expects that lint finds a fault in each field of the server's, and none
// in what the server takes.
func lintAgrees(m manifest, refused []fault) {
	GinkgoHelper()
	s, err := files.Parse("case.yaml", string(m))
	Expect(err).NotTo(HaveOccurred())
	var found []string
	for _, f := range files.Read([]*files.Stream{s}, "default").Lint() {
		if f.Severity == files.Fault {
			found = append(found, f.Message)
		}
	}
	if len(refused) == 0 {
		Expect(found).To(BeEmpty(), "lint")
	}
	for _, r := range refused {
		Expect(found).To(ContainElement(HavePrefix(strings.TrimPrefix(r.field, "<nil>"))), "lint")
	}
}
