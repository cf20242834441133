// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the API of the funnel operator: the FunnelPolicy kind of
// the group sfunnel.io, its condition types and reasons, and the label and
// annotation keys that it shares with pods, namespaces and ConfigMaps. It
// imports nothing heavier than k8s.io/apimachinery.
//
// +kubebuilder:object:generate=true
// +groupName=sfunnel.io
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package=../applyconfiguration
package v1alpha1
