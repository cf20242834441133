// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// References returns the Services that the policy itself names, sorted, each once:
// that of a backend, and those of explicit rules.
func References(p *v1alpha1.FunnelPolicy) []types.NamespacedName {
	var names []types.NamespacedName
	if p.Spec.Backend != nil {
		names = append(names, types.NamespacedName{Namespace: p.Namespace, Name: p.Spec.Backend.Service})
	}
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

// References returns the Services that the policy depends on: besides its own
// that of the backend policy to which it may refer.
func (in Cluster) References(p *v1alpha1.FunnelPolicy) []types.NamespacedName {
	names := References(p)
	if p.Spec.Client != nil && in.Backend != nil && allows(in.Backend, p.Namespace, in.Labels) {
		names = append(names, References(in.Backend)...)
	}
	return names
}

// serviceName completes a reference: without a namespace it is the policy's.
func serviceName(p *v1alpha1.FunnelPolicy, ref *v1alpha1.ServiceReference) types.NamespacedName {
	name := types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}
	if name.Namespace == "" {
		name.Namespace = p.Namespace
	}
	return name
}
