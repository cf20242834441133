// SPDX-License-Identifier: Apache-2.0

package policy

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/sets"
)

// selectorsMeet reports whether some labels fulfil both selectors. Keys don't
// depend on each other, so it is enough to look at each key alone.
func selectorsMeet(a, b *metav1.LabelSelector) bool {
	byKey := map[string]*values{}
	for _, s := range []*metav1.LabelSelector{a, b} {
		selector, err := metav1.LabelSelectorAsSelector(s)
		if err != nil {
			return false
		}
		requirements, selectable := selector.Requirements()
		if !selectable {
			return false
		}
		for _, r := range requirements {
			if byKey[r.Key()] == nil {
				byKey[r.Key()] = &values{}
			}
			byKey[r.Key()].restrict(r)
		}
	}
	for _, v := range byKey {
		if !v.possible() {
			return false
		}
	}
	return true
}

// values are those that a label may still have.
type values struct {
	absent, present bool // what is required
	in              sets.Set[string]
	notIn           sets.Set[string]
}

func (v *values) restrict(r labels.Requirement) {
	listed := sets.New(r.ValuesUnsorted()...)
	switch r.Operator() {
	case selection.In, selection.Equals, selection.DoubleEquals:
		v.present = true
		if v.in == nil {
			v.in = listed
		}
		v.in = v.in.Intersection(listed)
	case selection.NotIn, selection.NotEquals:
		v.notIn = listed.Union(v.notIn)
	case selection.Exists:
		v.present = true
	case selection.DoesNotExist:
		v.absent = true
	}
}

// possible: there are more values than any list of them excludes.
func (v *values) possible() bool {
	if v.absent && v.present {
		return false
	}
	return v.in == nil || v.in.Difference(v.notIn).Len() > 0
}
