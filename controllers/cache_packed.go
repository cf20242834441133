// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
)

// The cache holds pods and EndpointSlices packed: their types have room for all that such an
// object can be, several times as much as what is kept of one. Who reads them unpacks.

// pack makes what the cache holds of an object: the metadata that events are told apart by,
// with the rest as a protobuf in the field selfLink, which the API server has left empty since
// Kubernetes 1.20.
func pack(kept metav1.ObjectMeta, rest interface{ Marshal() ([]byte, error) }) (*metav1.PartialObjectMetadata, error) {
	text, err := rest.Marshal()
	if err != nil {
		return nil, fmt.Errorf("pack %T %s/%s: %w", rest, kept.Namespace, kept.Name, err)
	}
	kept.Namespace = shared(kept.Namespace)
	kept.SetSelfLink(string(text))
	return &metav1.PartialObjectMetadata{ObjectMeta: kept}, nil
}

// errNotPacked is of a manager that was made with another cache.
var errNotPacked = errors.New("the manager's cache was not made with CacheOptions")

// asPacked returns an object of the cache as what pack made of it.
func asPacked(cached any) (*metav1.PartialObjectMetadata, error) {
	packed, ok := cached.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil, fmt.Errorf("unexpected %T: %w", cached, errNotPacked)
	}
	return packed, nil
}

// packedObjects are the packed objects of one type in the manager's cache.
type packedObjects struct{ indexer toolscache.Indexer }

// in are those of a namespace for which keep holds.
func (p packedObjects) in(namespace string, keep func(*metav1.PartialObjectMetadata) bool) ([]*metav1.PartialObjectMetadata, error) {
	return p.by(toolscache.NamespaceIndex, namespace, keep)
}

// by are those at a place of an index for which keep holds.
func (p packedObjects) by(index, place string, keep func(*metav1.PartialObjectMetadata) bool) ([]*metav1.PartialObjectMetadata, error) {
	all, err := p.indexer.ByIndex(index, place)
	if err != nil {
		return nil, err
	}
	var found []*metav1.PartialObjectMetadata
	for _, obj := range all {
		packed, err := asPacked(obj)
		if err != nil {
			return nil, err
		}
		if keep(packed) {
			found = append(found, packed)
		}
	}
	return found, nil
}

// unpack fills in the rest.
func unpack(packed *metav1.PartialObjectMetadata, rest interface{ Unmarshal([]byte) error }) error {
	if err := rest.Unmarshal([]byte(packed.GetSelfLink())); err != nil {
		return fmt.Errorf("unpack %T %s/%s: %w", rest, packed.Namespace, packed.Name, err)
	}
	return nil
}
