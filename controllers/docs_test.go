// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
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
