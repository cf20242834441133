// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"
)

func TestLabelTextIsTheSet(t *testing.T) {
	for _, set := range []labels.Set{nil, {"app": "web"}, {"app": "", "example.com/tier": "a.b_c-d", "zone": "z"}} {
		text := labelTextOf(set)
		if diff := cmp.Diff(set, text.set()); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
		for _, key := range []string{"app", "example.com/tier", "zone", "tier", ""} {
			value, exists := set[key]
			if got, has := text.Lookup(key); got != value || has != exists || text.Get(key) != value || text.Has(key) != exists {
				t.Errorf("%q has %s=%q, %v", text, key, got, has)
			}
		}
	}
}
