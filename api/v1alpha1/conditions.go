// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// The condition types of a FunnelPolicy, each the answer to one question.
const (
	// ConditionAccepted is True when the spec compiles.
	ConditionAccepted = "Accepted"
	// ConditionResolvedRefs is True when all that the spec names exists and has addresses.
	ConditionResolvedRefs = "ResolvedRefs"
	// ConditionProgrammed is True when the ConfigMap holds the current rules.
	ConditionProgrammed = "Programmed"
	// ConditionSessionAffinity is True when the Services in front keep ClientIP affinity.
	ConditionSessionAffinity = "SessionAffinity"
	// ConditionSourceIPPreserved is True when nothing masquerades between clients and pods.
	ConditionSourceIPPreserved = "SourceIPPreserved"
	// ConditionAttached is True when every matched pod reported success with the current digest.
	ConditionAttached = "Attached"
	// ConditionCoverage, of backend policies, is True when every ready endpoint of the
	// Service is a pod that reported success with the current digest.
	ConditionCoverage = "Coverage"
	// ConditionMTUWarning is bad when True: some interface has no room for the pushed header.
	ConditionMTUWarning = "MTUWarning"
	// ConditionWarnings is bad when True: something is legal and probably not meant.
	ConditionWarnings = "Warnings"
	// ConditionReady is True when Accepted, ResolvedRefs and Programmed are, at this
	// generation. All others are advice, and it does not wait for pods.
	ConditionReady = "Ready"
	// ConditionReconciling is present only when True: waiting for a reference or a retry.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is present only when True: nothing changes until somebody acts.
	ConditionStalled = "Stalled"
)

// The reasons of conditions. Each is used with the types named.
const (
	// Accepted
	ReasonAccepted               = "Accepted"
	ReasonInvalid                = "Invalid"
	ReasonConflicted             = "Conflicted"
	ReasonTooManyRules           = "TooManyRules"
	ReasonUnsupportedServiceType = "UnsupportedServiceType"
	ReasonPortMappingUnsupported = "PortMappingUnsupported"

	// ResolvedRefs
	ReasonResolvedRefs       = "ResolvedRefs"
	ReasonServiceNotFound    = "ServiceNotFound"
	ReasonPortNotFound       = "PortNotFound"
	ReasonPolicyNotFound     = "PolicyNotFound"
	ReasonNotABackend        = "NotABackend"
	ReasonClientNotAllowed   = "ClientNotAllowed"
	ReasonAddressPending     = "AddressPending"
	ReasonBackendNotAttached = "BackendNotAttached"

	// Programmed
	ReasonProgrammed        = "Programmed"
	ReasonNeverProgrammed   = "NeverProgrammed"
	ReasonStaleRules        = "StaleRules"
	ReasonApplyFailed       = "ApplyFailed"
	ReasonConfigMapNotOwned = "ConfigMapNotOwned"

	// SessionAffinity
	ReasonClientIP     = "ClientIP"
	ReasonAffinityNone = "AffinityNone"
	ReasonNoServices   = "NoServices"

	// SourceIPPreserved
	ReasonSourceIPPreserved    = "SourceIPPreserved"
	ReasonTrafficPolicyCluster = "TrafficPolicyCluster"

	// Attached
	ReasonAttached            = "Attached"
	ReasonNoMatchingPods      = "NoMatchingPods"
	ReasonPodsNotInjected     = "PodsNotInjected"
	ReasonPodsPending         = "PodsPending"
	ReasonPodsOutdated        = "PodsOutdated"
	ReasonAttachFailed        = "AttachFailed"
	ReasonPodsRefreshing      = "PodsRefreshing"
	ReasonRefreshFailed       = "RefreshFailed"
	ReasonRefreshForbidden    = "RefreshForbidden"
	ReasonRefreshStalled      = "RefreshStalled"
	ReasonHostNetworkPods     = "HostNetworkPods"
	ReasonNamespaceNotEnabled = "NamespaceNotEnabled"
	ReasonNobodyInjects       = "NobodyInjects"
	ReasonPodSecurityForbids  = "PodSecurityForbids"

	// Coverage
	ReasonEndpointsCovered    = "EndpointsCovered"
	ReasonEndpointsNotCovered = "EndpointsNotCovered"
	ReasonNoEndpoints         = "NoEndpoints"

	// MTUWarning
	ReasonInsufficientHeadroom = "InsufficientHeadroom"
	ReasonHeadroomSufficient   = "HeadroomSufficient"
	ReasonNoReports            = "NoReports"

	// Warnings
	ReasonShadowedRules        = "ShadowedRules"
	ReasonUnfunnelWithoutPorts = "UnfunnelWithoutPorts"
	ReasonRuleWarnings         = "RuleWarnings"
	ReasonAddressesUnusable    = "AddressesUnusable"
	ReasonServiceMesh          = "ServiceMesh"
	ReasonSocketLoadBalancing  = "SocketLoadBalancing"
	ReasonNoWarnings           = "NoWarnings"

	// Ready; when it is False it carries the reason of the first condition that failed.
	ReasonReady = "Ready"

	// Reconciling
	ReasonWaiting = "Waiting"
)
