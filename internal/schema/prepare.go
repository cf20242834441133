// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"maps"
	"slices"
	"strings"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
)

// Prepare does to an object what the server does before it looks at values: it
// takes out fields that the kind does not have, nulls that mean absence and the
// status, which nobody creates, and fills in defaults and a generated name. It
// returns the paths of the unknown fields. Whole numbers are int64, as sigs.k8s.io/json
// reads them.
func (k *Kind) Prepare(object map[string]any) (unknown []string) {
	_, _, unknown, err := objectmeta.GetObjectMetaWithOptions(object, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		unknown = nil // Validate says what is wrong with the metadata
	}
	tracking := structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	unknown = append(unknown, pruning.PruneWithOptions(object, k.structural, true, tracking)...)
	defaulting.PruneNonNullableNullsWithoutDefaults(object, k.structural)
	defaulting.Default(object, k.structural)
	delete(object, "status")
	generateName(object)
	return unknown
}

// generateName gives an object without a name one of the form and length that a
// server would give it.
func generateName(object map[string]any) {
	metadata, _ := object["metadata"].(map[string]any)
	name := metadata["name"]
	if prefix, _ := metadata["generateName"].(string); prefix != "" && (name == nil || name == "") {
		metadata["name"] = prefix + "xxxxx"
	}
}

// Fields names the fields that an object of the kind can have beside the one of
// that path ("spec.rules.egress[0].matches"), sorted; none where the schema has no
// list of them.
func (k *Kind) Fields(path string) []string {
	steps := strings.Split(path, ".")
	at := k.structural
	for _, step := range steps[:len(steps)-1] {
		name, _, _ := strings.Cut(step, "[")
		below, known := at.Properties[name]
		if !known {
			return nil
		}
		at = &below
		if at.Items != nil {
			at = at.Items
		}
	}
	return slices.Sorted(maps.Keys(at.Properties))
}
