// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// services finds Services in the manager's cache. What it returns are the cache's own and must
// not be changed.
type services struct{ indexer toolscache.Indexer }

// byServiceSelector is an index of Services by the namespace and one of the labels that they
// select, in as few places as those of policies.
const byServiceSelector = "sfunnel.io/selector"

var serviceIndexers = toolscache.Indexers{byServiceSelector: servicePlace}

// servicePlace is where a Service stands in the index. Without a selector it leads to no pods.
func servicePlace(obj any) ([]string, error) {
	s, ok := obj.(*corev1.Service)
	if !ok {
		return nil, fmt.Errorf("index Services: unexpected %T", obj)
	}
	if len(s.Spec.Selector) == 0 {
		return nil, nil
	}
	return []string{placeOf(firstLabel(s.Namespace, s.Spec.Selector))}, nil
}

// leadingTo are those of a namespace that select an object with these labels.
func (s services) leadingTo(namespace string, set labels.Set) ([]*corev1.Service, error) {
	var found []*corev1.Service
	for key, value := range set {
		label := oneLabel(namespace, key, value)
		all, err := s.indexer.ByIndex(byServiceSelector, placeOf(label))
		if err != nil {
			return nil, fmt.Errorf("list Services: %w", err)
		}
		for _, obj := range all {
			service := obj.(*corev1.Service)
			selector := service.Spec.Selector
			if firstLabel(service.Namespace, selector) == label && labels.SelectorFromSet(selector).Matches(set) {
				found = append(found, service)
			}
		}
	}
	return found, nil
}

// addLeading adds the Services that lead to the policy's pods to those that its rules name.
func (r *FunnelPolicyReconciler) addLeading(facts *status.Facts) error {
	known := map[types.NamespacedName]bool{}
	for _, s := range facts.Services {
		known[client.ObjectKeyFromObject(s)] = true
	}
	for _, set := range append(facts.Pods.Labels(), facts.Policy.Spec.PodSelector.MatchLabels) {
		leading, err := r.services.leadingTo(facts.Policy.Namespace, set)
		if err != nil {
			return err
		}
		for _, s := range leading {
			if name := client.ObjectKeyFromObject(s); !known[name] {
				facts.Services, known[name] = append(facts.Services, s), true
			}
		}
	}
	return nil
}
