// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/sfunnel-io/funnel-operator/internal/checkout"
)

var _ = It("has a case for every rule of the schema", func() {
	source, err := os.ReadFile("refused_test.go")
	Expect(err).NotTo(HaveOccurred())
	seen := 0
	walk(schemaOf(), func(s apiextensionsv1.JSONSchemaProps) {
		for _, v := range s.XValidations {
			seen++
			Expect(string(source)).To(ContainSubstring(v.Message), "no case expects this message")
		}
	})
	Expect(seen).To(BeNumerically(">", 20))
})

var _ = It("describes every field", func() {
	s := schemaOf()
	for _, part := range []string{"spec", "status"} {
		undescribed(part, s.Properties[part])
	}
})

func undescribed(path string, s apiextensionsv1.JSONSchemaProps) {
	GinkgoHelper()
	Expect(s.Description).NotTo(BeEmpty(), path)
	for name, property := range s.Properties {
		undescribed(path+"."+name, property)
	}
	if s.Items != nil && s.Items.Schema.Type == "object" {
		undescribed(path+"[]", *s.Items.Schema)
	}
}

func schemaOf() apiextensionsv1.JSONSchemaProps {
	root, err := checkout.Root()
	Expect(err).NotTo(HaveOccurred())
	text, err := os.ReadFile(filepath.Join(root, "config", "crd", "bases", "sfunnel.io_funnelpolicies.yaml"))
	Expect(err).NotTo(HaveOccurred())
	crd := &apiextensionsv1.CustomResourceDefinition{}
	Expect(yaml.UnmarshalStrict(text, crd)).To(Succeed())
	return *crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// walk visits a schema and all below it.
func walk(s apiextensionsv1.JSONSchemaProps, visit func(apiextensionsv1.JSONSchemaProps)) {
	visit(s)
	for _, property := range s.Properties {
		walk(property, visit)
	}
	if s.Items != nil {
		walk(*s.Items.Schema, visit)
	}
}
