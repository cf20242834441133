// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
)

// The cache holds pods, ConfigMaps, Services and EndpointSlices packed: their types have room
// for all that such an object can be, several times as much as what is kept of one. Who reads
// them unpacks.

// packed is what the cache holds of such an object: what informers, indexes and events tell it
// by, and the rest as protobufs. Its fields are exported for who compares two.
type packed struct {
	metav1.Object // an empty one: nobody asks for what is not below

	Namespace, Name, ResourceVersion string
	// Labels are those by which it is found: its own, or of a Service those that it selects.
	Labels labelText
	// Alike is what many have in common and share, where there is such; Text is the rest.
	Alike, Text string
}

var nothing = &metav1.ObjectMeta{}

// packing is a transform to what is made of an object of that type.
func packing[T any](pack func(*T) (*packed, error)) toolscache.TransformFunc {
	return func(in any) (any, error) {
		obj, ok := in.(*T)
		if !ok { // a tombstone, or packed already
			return in, nil
		}
		return pack(obj)
	}
}

// pack takes the object apart.
func pack(obj interface {
	metav1.Object
	Marshal() ([]byte, error)
}, found labelText) (*packed, error) {
	o := &packed{Object: nothing, Namespace: shared(obj.GetNamespace()), Labels: found}
	name, version := obj.GetName(), obj.GetResourceVersion()
	obj.SetNamespace("")
	obj.SetName("")
	obj.SetResourceVersion("")
	text, err := obj.Marshal()
	if err != nil {
		return nil, fmt.Errorf("pack %T %s/%s: %w", obj, o.Namespace, name, err)
	}
	// In one piece: it takes less room than three.
	whole := string(text) + name + version
	o.Text, whole = whole[:len(text)], whole[len(text):]
	o.Name, o.ResourceVersion = whole[:len(name)], whole[len(name):]
	return o, nil
}

// unpack fills in an empty object, but for what it was found by, or has in common with others.
func unpack(o *packed, obj interface {
	metav1.Object
	Unmarshal([]byte) error
}) error {
	if err := obj.Unmarshal([]byte(o.Text)); err != nil {
		return fmt.Errorf("unpack %T %s/%s: %w", obj, o.Namespace, o.Name, err)
	}
	obj.SetNamespace(o.Namespace)
	obj.SetName(o.Name)
	obj.SetResourceVersion(o.ResourceVersion)
	return nil
}

// GetNamespace implements metav1.Object, as do the next ones.
func (o *packed) GetNamespace() string { return o.Namespace }

// GetName implements metav1.Object.
func (o *packed) GetName() string { return o.Name }

// GetResourceVersion implements metav1.Object.
func (o *packed) GetResourceVersion() string { return o.ResourceVersion }

// SetResourceVersion implements metav1.Object.
func (o *packed) SetResourceVersion(version string) { o.ResourceVersion = version }

// GetLabels implements metav1.Object.
func (o *packed) GetLabels() map[string]string { return o.Labels.set() }

// GetObjectKind implements runtime.Object.
func (o *packed) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object.
func (o *packed) DeepCopyObject() runtime.Object {
	other := *o
	return &other
}

// errNotPacked is of a manager that was made with another cache.
var errNotPacked = errors.New("the manager's cache was not made with CacheOptions")

// asPacked returns an object of the cache as what pack made of it.
func asPacked(cached any) (*packed, error) {
	o, ok := cached.(*packed)
	if !ok {
		return nil, fmt.Errorf("unexpected %T: %w", cached, errNotPacked)
	}
	return o, nil
}

// packedObjects are the packed objects of one type in the manager's cache.
type packedObjects struct{ indexer toolscache.Indexer }

// named is the one of that name, nil when there is none.
func (p packedObjects) named(name types.NamespacedName) (*packed, error) {
	obj, exists, err := p.indexer.GetByKey(name.String())
	if err != nil || !exists {
		return nil, err
	}
	return asPacked(obj)
}

// get is the one of that name, as it is unpacked; nil when there is none.
func get[T any](p packedObjects, kind string, name types.NamespacedName, unpack func(*packed) (*T, error)) (*T, error) {
	o, err := p.named(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("get %s %s: %w", kind, name, err)
	case o == nil:
		return nil, nil
	}
	return unpack(o)
}

// in are those of a namespace for which keep holds.
func (p packedObjects) in(namespace string, keep func(*packed) bool) ([]*packed, error) {
	return p.by(toolscache.NamespaceIndex, namespace, keep)
}

// by are those at a place of an index for which keep holds.
func (p packedObjects) by(index, place string, keep func(*packed) bool) ([]*packed, error) {
	all, err := p.indexer.ByIndex(index, place)
	if err != nil {
		return nil, err
	}
	var found []*packed
	for _, obj := range all {
		o, err := asPacked(obj)
		if err != nil {
			return nil, err
		}
		if keep(o) {
			found = append(found, o)
		}
	}
	return found, nil
}
