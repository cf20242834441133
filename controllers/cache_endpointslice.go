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
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// packEndpointSlice is a transform to what the cache holds of an EndpointSlice: which pods are
// ready or end, and in the field generateName the Service's name.
func packEndpointSlice(in any) (any, error) {
	s, ok := in.(*discoveryv1.EndpointSlice)
	if !ok { // a tombstone, or packed already
		return in, nil
	}
	kept := metav1.ObjectMeta{
		Name:            s.Name,
		Namespace:       s.Namespace,
		ResourceVersion: s.ResourceVersion,
		GenerateName:    s.Labels[discoveryv1.LabelServiceName],
	}
	return pack(kept, &discoveryv1.EndpointSlice{Endpoints: cutEndpoints(s.Namespace, s.Endpoints)})
}

// serviceOfSlice is the Service of a packed EndpointSlice.
func serviceOfSlice(packed client.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: packed.GetNamespace(), Name: packed.GetGenerateName()}
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
	packed, ok := obj.(client.Object) // one that is not packed is of no Service
	if !ok {
		return nil, fmt.Errorf("index EndpointSlices: unexpected %T", obj)
	}
	return []string{placeOf(serviceOfSlice(packed).String())}, nil
}

// of are those of a Service, with their endpoints alone.
func (e endpointSlices) of(service types.NamespacedName) ([]discoveryv1.EndpointSlice, error) {
	all, err := e.by(bySliceService, placeOf(service.String()), func(packed *metav1.PartialObjectMetadata) bool { return serviceOfSlice(packed) == service })
	if err != nil {
		return nil, fmt.Errorf("list EndpointSlices of Service %s: %w", service, err)
	}
	var found []discoveryv1.EndpointSlice
	for _, packed := range all {
		var slice discoveryv1.EndpointSlice
		if err := unpack(packed, &slice); err != nil {
			return nil, err
		}
		found = append(found, slice)
	}
	return found, nil
}
