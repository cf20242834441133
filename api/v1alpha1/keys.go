// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Labels and their values.
const (
	// LabelInjection on a Namespace opts it in with the value InjectionEnabled.
	LabelInjection = "sfunnel.io/injection"
	// InjectionEnabled is the value of LabelInjection that opts a namespace in.
	InjectionEnabled = "enabled"

	// LabelInject on a pod: InjectFalse opts it out; InjectRequired denies its
	// creation while no policy selects it.
	LabelInject = "sfunnel.io/inject"
	// InjectFalse is the value of LabelInject that opts a pod out.
	InjectFalse = "false"
	// InjectRequired is the value of LabelInject that denies a pod until a policy selects it.
	InjectRequired = "required"

	// LabelInjected on a pod, with the value InjectedTrue, says that it was injected.
	LabelInjected = "sfunnel.io/injected"
	// InjectedTrue is the value of LabelInjected.
	InjectedTrue = "true"

	// LabelPolicy on a rules ConfigMap names the policy that it belongs to.
	LabelPolicy = "sfunnel.io/policy"
)

// Annotations.
const (
	// AnnotationReleased on the rules ConfigMap of a client policy says for which
	// backend policy, digest of it and UID of its Service the rules were released:
	// "namespace/name sha256:… UID". A ConfigMap without it holds an empty rule set.
	AnnotationReleased = "sfunnel.io/released-for"
)

// Names that the pod contract fixes.
const (
	// InitContainerName is the init container that attaches the rules.
	InitContainerName = "sfunnel-attach"
	// RefreshPrefix begins the names of the ephemeral containers that bring running
	// pods the current rules; a number follows.
	RefreshPrefix = "sfunnel-refresh-"
	// VolumeName is the projected volume with one folder of rules per policy.
	VolumeName = "sfunnel-rules"
	// MountPath is where the init container finds VolumeName.
	MountPath = "/etc/sfunnel"
	// ConfigMapSuffix follows the policy's name in that of its ConfigMap.
	ConfigMapSuffix = "-funnel"
	// ExternalSuffix follows the name of a backend policy in that of the ConfigMap
	// for clients outside the cluster.
	ExternalSuffix = "-external"
	// FileIngress is the ConfigMap key and file with the ingress rules.
	FileIngress = "ingress.rules"
	// FileEgress is the ConfigMap key and file with the egress rules.
	FileEgress = "egress.rules"
	// FileSettings is the ConfigMap key and file with the settings, one JSON object.
	FileSettings = "settings"
)

// ConfigMapName is the name of the ConfigMap that holds a policy's rules.
func ConfigMapName(policy string) string { return policy + ConfigMapSuffix }

// ExternalName is the name of the ConfigMap with the rules for clients of a
// backend policy that are outside the cluster.
func ExternalName(policy string) string { return policy + ExternalSuffix }
