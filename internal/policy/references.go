// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// References returns the Services that the policy names, sorted, each once.
func References(p *v1alpha1.FunnelPolicy) []types.NamespacedName {
	var names []types.NamespacedName
	for _, list := range [][]v1alpha1.Rule{p.Spec.Rules.Ingress, p.Spec.Rules.Egress} {
		for _, r := range list {
			for _, peer := range []*v1alpha1.Peer{r.Match.Source, r.Match.Destination} {
				if peer != nil && peer.Service != nil {
					names = append(names, serviceName(p, peer.Service))
				}
			}
		}
	}
	slices.SortFunc(names, compareNames)
	return slices.Compact(names)
}

// serviceName completes a reference: without a namespace it is the policy's.
func serviceName(p *v1alpha1.FunnelPolicy, ref *v1alpha1.ServiceReference) types.NamespacedName {
	name := types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}
	if name.Namespace == "" {
		name.Namespace = p.Namespace
	}
	return name
}
