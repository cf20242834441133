// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// The cache holds ConfigMaps without their data, which would be the largest thing in it: with
// what we would write it has only to be compared. Who reads it gets the whole object live.

// packConfigMap is a transform to what the cache holds of a ConfigMap.
var packConfigMap = packing(func(c *corev1.ConfigMap) (*packed, error) {
	cutConfigMap(c)
	return pack(c, "")
})

// unpackConfigMap makes a ConfigMap of what the cache holds.
func unpackConfigMap(o *packed) (*corev1.ConfigMap, error) {
	cut := &corev1.ConfigMap{}
	return cut, unpack(o, cut)
}

// cutConfigMap keeps the name, the version, for whom it is released, whether it is owned and
// a fingerprint of the rest.
func cutConfigMap(c *corev1.ConfigMap) {
	rest := foreignMark
	if owned(c) {
		rest = ownedMark
	}
	rest += contentPrint(c.Labels[labelManagedBy], c.Data).text()
	*c = corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: c.Namespace, Name: c.Name, UID: c.UID, ResourceVersion: c.ResourceVersion, Annotations: ourAnnotation(c.Annotations),
	}}
	// The field is the API server's, which has left it empty since Kubernetes 1.20: nobody
	// else can write there.
	c.SetSelfLink(rest)
}

// cutConfigMaps finds ConfigMaps in the manager's cache.
type cutConfigMaps struct{ packedObjects }

// get is the ConfigMap of that name, nil when there is none.
func (c cutConfigMaps) get(name types.NamespacedName) (*corev1.ConfigMap, error) {
	return get(c.packedObjects, "ConfigMap", name, unpackConfigMap)
}

const (
	ownedMark   = "owned "
	foreignMark = "foreign "
)

func isCut(c *corev1.ConfigMap) bool { return c.GetSelfLink() != "" }

// heldPrint is the contentPrint of a ConfigMap that was cut.
func heldPrint(c *corev1.ConfigMap) fingerprint {
	_, text, _ := strings.Cut(c.GetSelfLink(), " ")
	return fingerprintFrom(text)
}

// owned reports whether the ConfigMap carries our label with the policy that its
// name says. It may be left from a policy that was deleted, or the label may have
// been put there to hand it over.
func owned(c *corev1.ConfigMap) bool {
	if isCut(c) {
		return strings.HasPrefix(c.GetSelfLink(), ownedMark)
	}
	of := c.Labels[v1alpha1.LabelPolicy]
	return of != "" && (c.Name == v1alpha1.ConfigMapName(of) || c.Name == v1alpha1.ExternalName(of))
}

// contentPrint is equal for the same data written by the same manager.
func contentPrint(managedBy string, data map[string]string) fingerprint {
	texts := []string{managedBy}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		texts = append(texts, key, data[key])
	}
	return fingerprintOf(texts...)
}
