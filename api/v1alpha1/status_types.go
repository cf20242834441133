// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// FunnelPolicyStatus is what the controller found. It is written only when its
// meaning changes.
type FunnelPolicyStatus struct {
	// conditions answer one question each; see the condition types.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the metadata.generation that this status is about;
	// -1 before the controller has seen the policy.
	// +optional
	// +default=-1
	ObservedGeneration int64 `json:"observedGeneration"`

	// rulesDigest identifies the canonical rules and settings of the ConfigMap; a
	// pod that reports the same digest runs the current rules.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	RulesDigest string `json:"rulesDigest,omitempty"`

	// configMap is the name of the ConfigMap that holds the rules.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ConfigMap string `json:"configMap,omitempty"`

	// pods counts the selected pods by what they run.
	// +optional
	Pods PodCounts `json:"pods,omitempty"`

	// mtu sums up what the pods reported about room for the pushed header.
	// +optional
	MTU *MTUStatus `json:"mtu,omitempty"`

	// services are the Services that the rules name, and those that select the
	// pods and carry a funneled port.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Services []ServiceStatus `json:"services,omitempty"`
}

// PodCounts counts pods. Matched is the sum of all that follow but OptedOut.
type PodCounts struct {
	// matched pods are selected, neither terminating nor finished, and not opted
	// out.
	// +required
	Matched int32 `json:"matched"`
	// attached pods reported success with the current digest.
	// +required
	Attached int32 `json:"attached"`
	// pending pods were injected and have not reported yet.
	// +required
	Pending int32 `json:"pending"`
	// outdated pods reported success with rules that are no longer current.
	// +required
	Outdated int32 `json:"outdated"`
	// missing pods run without injection.
	// +required
	Missing int32 `json:"missing"`
	// failed pods reported an error.
	// +required
	Failed int32 `json:"failed"`
	// optedOut pods are selected but carry the label sfunnel.io/inject: "false".
	// +required
	OptedOut int32 `json:"optedOut"`
}

// MTUStatus sums up interface MTUs in bytes.
type MTUStatus struct {
	// minimum is the smallest MTU that a pod reported.
	// +required
	Minimum int32 `json:"minimum"`
	// overhead is how many bytes the rules add to a packet at most.
	// +required
	Overhead int32 `json:"overhead"`
}

// ServiceStatus is what matters here of a Service.
type ServiceStatus struct {
	// namespace of the Service.
	// +required
	Namespace string `json:"namespace"`
	// name of the Service.
	// +required
	Name string `json:"name"`
	// addresses that the rules use.
	// +optional
	// +listType=atomic
	Addresses []string `json:"addresses,omitempty"`
	// affinity is the Service's sessionAffinity: None or ClientIP.
	// +optional
	Affinity string `json:"affinity,omitempty"`
	// timeoutSeconds is how long an unused affinity is kept.
	// +optional
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`
	// externalTrafficPolicy of the Service: Local or Cluster.
	// +optional
	ExternalTrafficPolicy string `json:"externalTrafficPolicy,omitempty"`
	// internalTrafficPolicy of the Service: Local or Cluster.
	// +optional
	InternalTrafficPolicy string `json:"internalTrafficPolicy,omitempty"`
}
