// SPDX-License-Identifier: Apache-2.0

// Package schema holds objects of a custom kind against the schema in the kind's
// definition, without a server and with the code of one: unknown fields, defaults,
// the types and bounds of OpenAPI, lists as sets and maps, and the CEL rules within
// their cost limits.
package schema

import (
	"fmt"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// Kind is what a definition says about objects of its first version.
type Kind struct {
	structural *structuralschema.Structural
	openapi    validation.SchemaValidator
	namespaced bool
	// rules are compiled when they are first asked for: that takes longer than all else.
	rules func() *cel.Validator
}

// New reads a definition. It does what the API server does when a definition is
// installed, and its errors are those of a definition that no server would take.
func New(definition *apiextensionsv1.CustomResourceDefinition) (*Kind, error) {
	var internal apiextensions.JSONSchemaProps
	v1 := definition.Spec.Versions[0].Schema.OpenAPIV3Schema
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v1, &internal, nil); err != nil {
		return nil, fmt.Errorf("convert the schema of %s: %w", definition.Name, err)
	}
	structural, err := structuralschema.NewStructural(&internal)
	if err != nil {
		return nil, fmt.Errorf("the schema of %s is not structural: %w", definition.Name, err)
	}
	structural = structural.DeepCopy() // defaults are shared with the definition until here
	if err := defaulting.PruneDefaults(structural); err != nil {
		return nil, fmt.Errorf("defaults of %s: %w", definition.Name, err)
	}
	openapi, _, err := validation.NewSchemaValidator(&internal)
	if err != nil {
		return nil, fmt.Errorf("the schema of %s: %w", definition.Name, err)
	}
	return &Kind{
		structural: structural, openapi: openapi,
		namespaced: definition.Spec.Scope == apiextensionsv1.NamespaceScoped,
		rules:      sync.OnceValue(func() *cel.Validator { return cel.NewValidator(structural, true, celconfig.PerCallLimit) }),
	}, nil
}
