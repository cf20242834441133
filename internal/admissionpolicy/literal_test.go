// SPDX-License-Identifier: Apache-2.0

package admissionpolicy

import "testing"

func TestLiterals(t *testing.T) {
	marks := map[string]expression{"NAME": "variables.name"}
	rows := []struct {
		value any
		want  string
	}{
		{"plain", `'plain'`},
		{`it's a \`, `'it\'s a \\'`},
		{"NAME", `variables.name`},
		{"NAME/NAME-funnel", `variables.name + '/' + variables.name + '-funnel'`},
		{"a/NAME", `'a/' + variables.name`},
		{expression("x + 1"), `x + 1`},
		{true, `true`},
		{float64(292), `292`},
		{[]any{"a", "NAME"}, `['a', variables.name]`},
		{[]any{"a", float64(1)}, `[dyn('a'), dyn(1)]`},
		{map[string]any{"b": "1", "a": "2"}, `{'a': '2', 'b': '1'}`},
		{map[string]any{"b": true, "a": []any{}}, `{'a': dyn([]), 'b': dyn(true)}`},
		{map[string]any{"b": "1", "a": optional("optional.none()")}, `{?'a': optional.none(), 'b': dyn('1')}`},
	}
	for _, row := range rows {
		if got := literal(row.value, marks); got != row.want {
			t.Errorf("%#v: got %s, want %s", row.value, got, row.want)
		}
	}
}

// The generator reads words and parts off inject.Pod; it panics when it no longer
// finds them.
func TestManifestsAreMade(t *testing.T) {
	if _, err := Manifests(); err != nil {
		t.Error(err)
	}
}
