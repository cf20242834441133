// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"iter"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// labelText are labels as labels.Set prints them, "app=web,tier=db": a map takes four times as
// much. It implements labels.Labels.
type labelText string

func labelTextOf(set map[string]string) labelText { return labelText(labels.Set(set).String()) }

// set is nil for none.
func (t labelText) set() labels.Set {
	if t == "" {
		return nil
	}
	return maps.Collect(t.all())
}

// all are key and value of each. Neither has a comma or an equals sign.
func (t labelText) all() iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		for label := range strings.SplitSeq(string(t), ",") {
			if key, value, ok := strings.Cut(label, "="); ok && !yield(key, value) {
				return
			}
		}
	}
}

// Lookup implements labels.Labels.
func (t labelText) Lookup(key string) (value string, exists bool) {
	for k, v := range t.all() {
		if k == key {
			return v, true
		}
	}
	return "", false
}

// Has implements labels.Labels.
func (t labelText) Has(key string) bool {
	_, exists := t.Lookup(key)
	return exists
}

// Get implements labels.Labels.
func (t labelText) Get(key string) string {
	value, _ := t.Lookup(key)
	return value
}
