// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// apiConstants are the values of the API's constants whose names begin so.
func apiConstants(prefix string) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "api", "v1alpha1", "conditions.go"), nil, 0)
	if err != nil {
		return nil, err
	}
	var values []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, prefix) {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			panic(err) // it was parsed
		}
		values = append(values, value)
		return true
	})
	return values, nil
}

func TestConditionsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "conditions.md"))
	if err != nil {
		t.Fatal(err)
	}
	for prefix, quote := range map[string]string{"Reason": "`", "Condition": ""} {
		values, err := apiConstants(prefix)
		if err != nil || len(values) < 10 {
			t.Fatal(err, values)
		}
		for _, value := range values {
			if !strings.Contains(string(text), quote+value+quote) {
				t.Errorf("docs/conditions.md does not mention %s%s%s", quote, value, quote)
			}
		}
	}
}

// Who tests with the operator is told what the manager's client can't read, or not whole.
func TestWhatTheCacheLacksIsDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "envtest.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, advice, _ := strings.Cut(string(page), "\n- Read and write with a client of your own")
	advice, _, _ = strings.Cut(advice, "\n- ")
	for kind, by := range CacheOptions().ByObject {
		whole := kind.DeepCopyObject().(client.Object)
		whole.SetLabels(map[string]string{"a": "b"})
		held, err := by.Transform(whole.DeepCopyObject())
		if err != nil {
			t.Fatal(err)
		}
		if equality.Semantic.DeepEqual(held, whole) {
			continue
		}
		plural, _ := meta.UnsafeGuessKindToResource(schema.GroupVersionKind{Kind: reflect.TypeOf(kind).Elem().Name()})
		if !strings.Contains(strings.ToLower(advice), plural.Resource) {
			t.Errorf("docs/envtest.md does not say what the manager's client has of %s", plural.Resource)
		}
	}
}
