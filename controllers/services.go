// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// services finds Services in the manager's cache. What it returns are the cache's own and must
// not be changed.
type services struct{ indexer toolscache.Indexer }

// servicesIn makes the cache keep Services, with the index.
func servicesIn(c cache.Cache) (services, error) {
	informer, err := informerOf(c, &corev1.Service{})
	if err != nil {
		return services{}, err
	}
	return services{informer.GetIndexer()}, informer.AddIndexers(serviceIndexers)
}

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
	key := firstKey(s.Spec.Selector)
	return []string{placeOf(oneLabel(s.Namespace, key, s.Spec.Selector[key]))}, nil
}

// leadingTo are those of a namespace that select an object with these labels.
func (s services) leadingTo(namespace string, set labels.Set) ([]*corev1.Service, error) {
	var found []*corev1.Service
	for key, value := range set {
		all, err := s.indexer.ByIndex(byServiceSelector, placeOf(oneLabel(namespace, key, value)))
		if err != nil {
			return nil, fmt.Errorf("list Services: %w", err)
		}
		for _, obj := range all {
			service := obj.(*corev1.Service)
			selector := service.Spec.Selector
			if service.Namespace == namespace && firstKey(selector) == key && labels.SelectorFromSet(selector).Matches(set) {
				found = append(found, service)
			}
		}
	}
	return found, nil
}

// addLeading adds the Services that lead to the policy's pods to those that its rules name.
func (r *FunnelPolicyReconciler) addLeading(facts *status.Facts) error {
	known := map[string]bool{}
	for _, s := range facts.Services {
		known[s.Namespace+"/"+s.Name] = true
	}
	namespace := facts.Policy.Namespace
	for _, set := range append(facts.Pods.Labels(), facts.Policy.Spec.PodSelector.MatchLabels) {
		leading, err := r.services.leadingTo(namespace, set)
		if err != nil {
			return err
		}
		for _, s := range leading {
			if name := namespace + "/" + s.Name; !known[name] {
				facts.Services, known[name] = append(facts.Services, s), true
			}
		}
	}
	return nil
}
