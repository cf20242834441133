// SPDX-License-Identifier: Apache-2.0

package controllers

// What the reconciler may do, verb by verb. A policy can be in any namespace, so
// all of it is for the whole cluster; nothing here lets it change a Service, a
// workload or a pod.
//
// FunnelPolicies are watched (list, watch), and looked for once more, live, before
// the ConfigMap of a deleted one goes (get).
// +kubebuilder:rbac:groups=sfunnel.io,resources=funnelpolicies,verbs=get;list;watch
//
// Their status is written (update).
// +kubebuilder:rbac:groups=sfunnel.io,resources=funnelpolicies/status,verbs=update
//
// ConfigMaps with our label are watched (list, watch), and one of a policy's name
// that may be somebody else's, or whose last good rules stay, is looked at (get): the
// cache has no data. Server-side apply takes create and patch. The rules of a policy
// that is gone are removed (delete). Of kube-system's cilium-config is read whether
// Cilium balances at the socket (get).
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch;create;patch;delete
//
// Pods that were injected are watched (list, watch), others listed now and then
// (list).
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch
//
// Services are watched for their addresses, affinity and traffic policies.
// +kubebuilder:rbac:groups="",resources=services,verbs=list;watch
//
// EndpointSlices are watched for backend policies: a client may funnel once every
// ready endpoint of the Service is a pod that can undo it, and endpoints that were
// never injected can't be seen otherwise. Which pods are ready is all that is kept.
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=list;watch
//
// Of Namespaces the metadata is watched: whether pods are injected, and whether
// PodSecurity refuses them, hangs on two labels, and whether a client may refer to
// a backend elsewhere on any. A watch tells at once when they
// change; reading them live would take get alone, cost a call per policy, and
// tell late.
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch
//
// Events tell people what happened (create). Our recorder makes no series of them (patch): each
// is about another version of its policy, or another condition.
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create
