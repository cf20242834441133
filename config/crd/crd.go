// SPDX-License-Identifier: Apache-2.0

// Package crd holds the FunnelPolicy definition for programs that install it
// themselves, test environments above all. kustomize takes the same file.
package crd

import (
	_ "embed"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

//go:embed bases/sfunnel.io_funnelpolicies.yaml
var funnelPolicy []byte

// FunnelPolicy is the definition, a new one with each call.
func FunnelPolicy() *apiextensionsv1.CustomResourceDefinition {
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(funnelPolicy, definition); err != nil {
		panic(err) // it is generated, and tests install it
	}
	return definition
}
