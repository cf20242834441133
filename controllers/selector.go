// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// chosen reports whether the selector selects an object with these labels. Most objects differ
// in a label that the selector names: only the others are worth a selector of apimachinery's. A
// selector that can't be read is an error where it could select.
func chosen(selector *metav1.LabelSelector, set labels.Set) (bool, error) {
	for key, value := range selector.MatchLabels {
		if has, ok := set[key]; !ok || has != value {
			return false, nil
		}
	}
	if len(selector.MatchExpressions) == 0 {
		return true, nil
	}
	expressions, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: selector.MatchExpressions})
	return err == nil && expressions.Matches(set), err
}
