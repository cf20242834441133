// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"unique"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// CacheOptions is what the manager's cache must be made with. Its size depends on
// policies, injected pods, Services, their endpoints and namespaces; pods and
// ConfigMaps that are none of ours never enter it, and what enters is cut to what is read.
//
// Pods, ConfigMaps, Services and EndpointSlices are in it packed, for the reconciler alone, and
// policies without conditions, labels, finalizers and owners; who else wants some must read them
// with the manager's API reader. The manager's scheme must have events.k8s.io/v1: Events are made
// with its client.
func CacheOptions() cache.Options {
	var common alike
	return cache.Options{
		DefaultTransform: cut(func(client.Object) {}),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}: {
				Label:     labels.SelectorFromSet(labels.Set{v1alpha1.LabelInjected: v1alpha1.InjectedTrue}),
				Transform: packPod(&common),
			},
			&v1alpha1.FunnelPolicy{}: {Transform: cut(cutPolicy)},
			&corev1.ConfigMap{}:      {Label: hasLabel(v1alpha1.LabelPolicy), Transform: packConfigMap},
			&corev1.Service{}:        {Transform: packService},
			&corev1.Namespace{}:      {Transform: cut(cutNamespace)},
			&discoveryv1.EndpointSlice{}: {
				Label:     hasLabel(discoveryv1.LabelServiceName), // whoever made it: nodes' proxies use them all
				Transform: packEndpointSlice,
			},
		},
	}
}

func hasLabel(key string) labels.Selector {
	exists, err := labels.NewRequirement(key, selection.Exists, nil)
	if err != nil {
		panic(err) // the key is a constant
	}
	return labels.NewSelector().Add(*exists)
}

// informerOf makes the cache keep objects of that type, and returns what keeps them.
func informerOf(c cache.Cache, obj client.Object) (toolscache.SharedIndexInformer, error) {
	informer, err := c.GetInformer(context.Background(), obj, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch %T: %w", obj, err)
	}
	indexed, ok := informer.(toolscache.SharedIndexInformer)
	if !ok {
		return nil, fmt.Errorf("watch %T: the cache must be one of all namespaces, not made of %T", obj, informer)
	}
	return indexed, nil
}

// indexerOf makes the cache keep objects of that type, with more indexes than that by namespace.
func indexerOf(c cache.Cache, obj client.Object, more toolscache.Indexers) (toolscache.Indexer, error) {
	informer, err := informerOf(c, obj)
	if err != nil {
		return nil, err
	}
	return informer.GetIndexer(), informer.AddIndexers(more)
}

// cut makes a transform that drops what no reader here needs of any object, and
// then what more drops. Transforms own their argument and may see one twice.
func cut[T client.Object](more func(T)) toolscache.TransformFunc {
	return func(in any) (any, error) {
		if obj, ok := in.(T); ok { // else a tombstone
			obj.SetManagedFields(nil)
			obj.SetAnnotations(ourAnnotation(obj.GetAnnotations()))
			more(obj)
			obj.SetNamespace(shared(obj.GetNamespace()))
		}
		return in, nil
	}
}

// ourAnnotation keeps the one that is read.
func ourAnnotation(all map[string]string) map[string]string {
	if value, ok := all[v1alpha1.AnnotationReleased]; ok {
		return map[string]string{v1alpha1.AnnotationReleased: value}
	}
	return nil
}

// shared is an equal string of which there is one copy.
func shared[S ~string](s S) S { return unique.Make(s).Value() }

func cutMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	kept := metav1.ObjectMeta{
		Name:              m.Name,
		Namespace:         m.Namespace,
		UID:               m.UID,
		ResourceVersion:   m.ResourceVersion,
		Generation:        m.Generation,
		CreationTimestamp: m.CreationTimestamp,
		DeletionTimestamp: m.DeletionTimestamp,
		Labels:            m.Labels,
	}
	if owner := metav1.GetControllerOfNoCopy(&m); owner != nil {
		kept.OwnerReferences = []metav1.OwnerReference{{APIVersion: owner.APIVersion, Kind: owner.Kind, Name: owner.Name, Controller: owner.Controller}}
	}
	return kept
}

// cutNamespace keeps the labels: two decide whether pods are injected, and any may
// decide whether a client policy may refer to a backend policy elsewhere.
func cutNamespace(n *metav1.PartialObjectMetadata) {
	n.ObjectMeta = cutMeta(n.ObjectMeta)
}
