// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"context"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/operation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// Validate returns why a server would not create the prepared object. The CEL
// rules are checked only when nothing of their kind blocks them, because they rely
// on what they find being there and of its type: checked is false then, and more
// faults may follow.
func (k *Kind) Validate(object map[string]any) (faults field.ErrorList, checked bool) {
	ctx := context.Background()
	faults = slices.Concat(
		k.validateMetadata(ctx, object),
		validation.ValidateCustomResource(nil, object, k.openapi),
		listtype.ValidateListSetsAndMaps(nil, k.structural, object))
	if slices.ContainsFunc(faults, blocks) {
		return faults, false
	}
	broken, _ := k.rules().Validate(ctx, nil, k.structural, object, nil, celconfig.RuntimeCELCostBudget)
	return append(faults, broken...), true
}

func (k *Kind) validateMetadata(ctx context.Context, object map[string]any) field.ErrorList {
	path := field.NewPath("metadata")
	metadata, found, _, err := objectmeta.GetObjectMetaWithOptions(object, objectmeta.ObjectMetaOptions{})
	switch {
	case err != nil:
		return field.ErrorList{field.TypeInvalid(path, field.OmitValueType{}, err.Error())}
	case !found:
		return field.ErrorList{field.Required(path, "give the object a name")}
	}
	return apivalidation.ValidateObjectMetaDeclaratively(ctx, operation.Create, metadata, nil, k.namespaced, apivalidation.NameIsDNSSubdomain, path, true)
}

// blocks reports whether CEL rules can't be asked: the server's own list.
func blocks(fault *field.Error) bool {
	switch fault.Type {
	case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
		return true
	}
	return false
}
