// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// The FunnelPolicy definition and a real API server judge alike in test/schema.
const definition = `
metadata: {name: things.example.org}
spec:
  scope: Namespaced
  versions:
  - schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, minimum: 1}
              colour: {type: string, default: red, enum: [red, blue]}
              note: {type: string}
              tags: {type: array, items: {type: string}, x-kubernetes-list-type: set}
              ports:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [port]
                items: {type: object, required: [port], properties: {port: {type: integer}}}
              numbers:
                type: array
                items: {type: integer}
                x-kubernetes-validations:
                - {rule: "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))", message: numbers are positive}
            x-kubernetes-validations:
            - {rule: "self.colour != 'blue' || self.size > 1", message: blue things have a size above 1}
          status: {type: object, properties: {done: {type: boolean}}}
`

func TestPrepareDoesWhatTheServerDoesFirst(t *testing.T) {
	object := mustObject(t, "metadata: {generateName: web-, lables: {}}\nspec: {size: 1, note: null, sise: 2, ports: [{port: 80, prot: 1}]}\nstatus: {done: true, x: 1}")
	unknown := mustKind(t).Prepare(object)
	if diff := cmp.Diff([]string{"metadata.lables", "spec.ports[0].prot", "spec.sise", "status.x"}, unknown); diff != "" {
		t.Error(diff)
	}
	want := mustObject(t, "metadata: {generateName: web-, lables: {}, name: web-xxxxx}\nspec: {size: 1, colour: red, ports: [{port: 80}]}")
	if diff := cmp.Diff(want, object); diff != "" {
		t.Error(diff)
	}
}

func TestFieldsAreThoseBesideThePath(t *testing.T) {
	for path, want := range map[string]string{
		"sepc": "spec status", "spec.sise": "colour note numbers ports size tags", "spec.ports[1].prot": "port", "metadata.lables": "", "spec.absent.x": "",
	} {
		if got := strings.Join(mustKind(t).Fields(path), " "); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestValidateNamesEachFault(t *testing.T) {
	for _, row := range []struct{ name, spec, want string }{
		{"nothing is wrong", "size: 1, tags: [a, b], ports: [{port: 1}, {port: 2}], numbers: [1, 2]", ""},
		{"a bound", "size: 0", "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"},
		{"a type", "size: x", `spec.size: Invalid value: "string": spec.size in body must be of type integer: "string" (rules unchecked)`},
		{"a missing field", "note: x", "spec.size: Required value (rules unchecked)"},
		{"a value that is none of a list", "size: 1, colour: green", `spec.colour: Unsupported value: "green": supported values: "red", "blue" (rules unchecked)`},
		{"a set", "size: 1, tags: [a, b, a]", `spec.tags[2]: Duplicate value: "a"`},
		{"a map", "size: 1, ports: [{port: 1}, {port: 1}]", `spec.ports[1]: Duplicate value: {"port":1}`},
		{"a rule", "size: 1, colour: blue", "spec: Invalid value: blue things have a size above 1"},
		{"two", "size: 1, colour: blue, tags: [a, a]", `spec.tags[1]: Duplicate value: "a"; spec: Invalid value: blue things have a size above 1`},
		{"a rule that costs too much", "size: 1, numbers: [" + strings.Repeat("1,", 500) + "1]",
			`spec.numbers: Invalid value: "array": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: numbers are positive`},
	} {
		t.Run(row.name, func(t *testing.T) {
			if diff := cmp.Diff(row.want, validate(t, "metadata: {namespace: shop, name: web}\nspec: {"+row.spec+"}")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestValidateNamesFaultsOfMetadata(t *testing.T) {
	for _, row := range []struct{ name, metadata, want string }{
		{"none", "", "metadata: Required value: give the object a name (rules unchecked)"},
		{"no object", "metadata: x", "metadata: Invalid value: json: cannot unmarshal string into Go value of type v1.ObjectMeta (rules unchecked)"},
		{"no name", "metadata: {namespace: shop}", "metadata.name: Required value: name or generateName is required (rules unchecked)"},
		{"a wrong type", "metadata: {namespace: shop, name: web, labels: {a: 1}}",
			"metadata: Invalid value: json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string (rules unchecked)"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := validate(t, "spec: {size: 1}\n"+row.metadata)
			got = strings.ReplaceAll(got, `Invalid value: "": `, "Invalid value: ")
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// validate returns all faults in one line.
func validate(t *testing.T, text string) string {
	object := mustObject(t, text)
	k := mustKind(t)
	if unknown := k.Prepare(object); unknown != nil {
		t.Fatalf("unknown fields: %v", unknown)
	}
	faults, checked := k.Validate(object)
	var lines []string
	for _, err := range faults {
		lines = append(lines, err.Error())
	}
	line := strings.Join(lines, "; ")
	if !checked {
		line += " (rules unchecked)"
	}
	return line
}

func mustKind(t *testing.T) *Kind {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict([]byte(definition), crd); err != nil {
		t.Fatal(err)
	}
	k, err := New(crd)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustObject(t *testing.T, text string) map[string]any {
	t.Helper()
	object := map[string]any{}
	data, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = json.UnmarshalCaseSensitivePreserveInts(data, &object)
	}
	if err != nil {
		t.Fatal(err)
	}
	return object
}
