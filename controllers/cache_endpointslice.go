// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

// packEndpointSlice is a transform to what the cache holds of an EndpointSlice: of which Service
// it is, and which pods are ready or end.
var packEndpointSlice = packing(func(s *discoveryv1.EndpointSlice) (*packed, error) {
	of := labelTextOf(map[string]string{discoveryv1.LabelServiceName: s.Labels[discoveryv1.LabelServiceName]})
	return pack(&discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, ResourceVersion: s.ResourceVersion},
		Endpoints:  cutEndpoints(s.Namespace, s.Endpoints),
	}, of)
})

// serviceOfSlice is the Service of an EndpointSlice, packed or not.
func serviceOfSlice(s metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: s.GetNamespace(), Name: s.GetLabels()[discoveryv1.LabelServiceName]}
}

func cutEndpoints(namespace string, all []discoveryv1.Endpoint) []discoveryv1.Endpoint {
	var kept []discoveryv1.Endpoint
	for i := range all {
		e := &all[i]
		k := discoveryv1.Endpoint{Addresses: e.Addresses, TargetRef: cutReference(namespace, e.TargetRef)}
		switch {
		case ptr.Deref(e.Conditions.Ready, true):
		case ptr.Deref(e.Conditions.Terminating, false):
			k.Conditions = discoveryv1.EndpointConditions{Ready: ptr.To(false), Terminating: ptr.To(true)}
		default:
			continue
		}
		kept = append(kept, k)
	}
	return kept
}

// cutReference keeps another namespace than the slice's own.
func cutReference(namespace string, ref *corev1.ObjectReference) *corev1.ObjectReference {
	if ref == nil {
		return nil
	}
	kept := &corev1.ObjectReference{Kind: ref.Kind, Name: ref.Name}
	if ref.Namespace != namespace {
		kept.Namespace = ref.Namespace
	}
	return kept
}

// endpointSlices finds EndpointSlices in the manager's cache.
type endpointSlices struct{ packedObjects }

// bySliceService is an index of EndpointSlices by their Service, in as few places as those of
// policies.
const bySliceService = "sfunnel.io/service"

var endpointSliceIndexers = toolscache.Indexers{bySliceService: slicePlace}

// slicePlace is where an EndpointSlice stands in the index.
func slicePlace(obj any) ([]string, error) {
	s, ok := obj.(metav1.Object) // who looks it up is told when it is not packed
	if !ok {
		return nil, fmt.Errorf("index EndpointSlices: unexpected %T", obj)
	}
	return []string{placeOf(serviceOfSlice(s).String())}, nil
}

// of are those of a Service, with their endpoints alone.
func (e endpointSlices) of(service types.NamespacedName) ([]discoveryv1.EndpointSlice, error) {
	all, err := e.by(bySliceService, placeOf(service.String()), func(o *packed) bool { return serviceOfSlice(o) == service })
	if err != nil {
		return nil, fmt.Errorf("list EndpointSlices of Service %s: %w", service, err)
	}
	var found []discoveryv1.EndpointSlice
	for _, o := range all {
		var slice discoveryv1.EndpointSlice
		if err := unpack(o, &slice); err != nil {
			return nil, err
		}
		found = append(found, slice)
	}
	return found, nil
}
