// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
)

// MeshContainers are the names of the containers by which service meshes take
// over a pod's connections.
var MeshContainers = []string{"istio-proxy", "linkerd-proxy", "kuma-sidecar", "consul-dataplane"}

// meshOf is the mesh container of a pod, "" when there is none. A native sidecar
// is among the init containers.
func meshOf(pod *corev1.Pod) string {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			for _, name := range MeshContainers {
				if list[i].Name == name {
					return name
				}
			}
		}
	}
	return ""
}

// surroundings are warnings about what the rules meet in the cluster.
func (f Facts) surroundings() []policy.Warning {
	var found []policy.Warning
	if f.SocketLoadBalancing && f.clientRules() {
		found = append(found, policy.Warning{Reason: v1alpha1.ReasonSocketLoadBalancing, Message: "" +
			"Cilium balances at the socket: it picks the backend when a pod connects, before the rules see a packet to the Service, so that nothing is funneled; set socketLB.hostNamespaceOnly=true in Cilium's values, and restart its agents and these pods"})
	}
	if f.Pods.meshed.total > 0 {
		found = append(found, policy.Warning{Reason: v1alpha1.ReasonServiceMesh, Message: fmt.Sprintf(
			"The proxy of a service mesh takes over the connections of %s: %s; it connects to pods itself, past the Service, so that what it handles is not funneled: exclude the through port and the funneled ports from it, in both directions", counted(f.Pods.meshed.total, "pod"), f.Pods.meshed)})
	}
	return found
}

// clientRules reports whether rules funnel what pods send to a Service.
func (f Facts) clientRules() bool {
	return f.Policy.Spec.Client != nil || len(throughServices(f.Policy)) > 0
}
