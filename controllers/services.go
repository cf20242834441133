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

// services finds Services in the manager's cache.
type services struct{ packedObjects }

// byServiceSelector is an index of Services by the namespace and one of the labels that they
// select, in as few places as those of policies.
const byServiceSelector = "sfunnel.io/selector"

var serviceIndexers = toolscache.Indexers{byServiceSelector: servicePlace}

// servicePlace is where a Service stands in the index. Without a selector it leads to no pods.
func servicePlace(obj any) ([]string, error) {
	o, ok := obj.(*packed)
	if !ok || o.Labels == "" { // who looks it up otherwise is told when it is not packed
		return nil, nil
	}
	return []string{placeOf(firstLabel(o.Namespace, o.Labels.set()))}, nil
}

// get is the Service of that name, nil when there is none.
func (s services) get(name types.NamespacedName) (*corev1.Service, error) {
	return get(s.packedObjects, "Service", name, unpackService)
}

// leadingTo are those of a namespace that select an object with these labels.
func (s services) leadingTo(namespace string, set labels.Set) ([]*corev1.Service, error) {
	var found []*corev1.Service
	for key, value := range set {
		label := oneLabel(namespace, key, value)
		all, err := s.by(byServiceSelector, placeOf(label), func(o *packed) bool {
			selected := o.Labels.set()
			return firstLabel(o.Namespace, selected) == label && selected.AsSelector().Matches(set)
		})
		if err != nil {
			return nil, fmt.Errorf("list Services: %w", err)
		}
		for _, o := range all {
			service, err := unpackService(o)
			if err != nil {
				return nil, err
			}
			found = append(found, service)
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
