// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of this package's kinds.
var GroupVersion = schema.GroupVersion{Group: "sfunnel.io", Version: "v1alpha1"}

// SchemeGroupVersion is GroupVersion by the name that generated code expects.
var SchemeGroupVersion = GroupVersion

// AddToScheme registers this package's kinds with a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &FunnelPolicy{}, &FunnelPolicyList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
