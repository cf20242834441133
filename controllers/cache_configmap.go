// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/binary"
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// The cache holds ConfigMaps without their data, which would be the largest thing in it: with
// what we would write it has only to be compared. Who reads it gets the whole object live.

// cutConfigMap keeps the name, the version, for whom it is released, whether it is owned and
// a sum of the rest.
func cutConfigMap(c *corev1.ConfigMap) {
	if isCut(c) {
		return
	}
	kept := corev1.ConfigMap{ObjectMeta: cutMeta(c.ObjectMeta)}
	kept.Labels, kept.OwnerReferences, kept.Annotations = nil, nil, c.Annotations
	rest := foreignMark
	if owned(c) {
		rest = ownedMark
	}
	// The field is the API server's, which has left it empty since Kubernetes 1.20: nobody
	// else can write there, and a map for two words would take ten times their room.
	kept.SetSelfLink(rest + contentSum(c.Labels[labelManagedBy], c.Data))
	*c = kept
}

const (
	ownedMark   = "owned "
	foreignMark = "foreign "
)

func isCut(c *corev1.ConfigMap) bool { return c.GetSelfLink() != "" }

// sumOf is the contentSum of a ConfigMap that was cut.
func sumOf(c *corev1.ConfigMap) string {
	_, sum, _ := strings.Cut(c.GetSelfLink(), " ")
	return sum
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

// sumSeed differs in each process, so that nobody can write other data with the same sum.
var sumSeed = maphash.MakeSeed()

// contentSum is equal for the same data written by the same manager.
func contentSum(managedBy string, data map[string]string) string {
	var h maphash.Hash
	h.SetSeed(sumSeed)
	add := func(text string) {
		maphash.WriteComparable(&h, len(text))
		h.WriteString(text)
	}
	add(managedBy)
	for _, key := range slices.Sorted(maps.Keys(data)) {
		add(key)
		add(data[key])
	}
	return string(binary.BigEndian.AppendUint64(nil, h.Sum64()))
}
