// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
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

// BackendName is the policy that a client policy refers to; zero for others.
func BackendName(p *v1alpha1.FunnelPolicy) types.NamespacedName {
	if p.Spec.Client == nil {
		return types.NamespacedName{}
	}
	return completed(p, p.Spec.Client.PolicyRef.Namespace, p.Spec.Client.PolicyRef.Name)
}

// FunnelsTo is the Service to which a rule of the policy funnels packets; false for rules
// that do something else, or name no Service.
func FunnelsTo(p *v1alpha1.FunnelPolicy, r *v1alpha1.Rule) (types.NamespacedName, bool) {
	to := r.Match.Destination
	if r.Funnel == nil || to == nil || to.Service == nil || to.Not {
		return types.NamespacedName{}, false
	}
	return serviceName(p, to.Service), true
}

func serviceName(p *v1alpha1.FunnelPolicy, ref *v1alpha1.ServiceReference) types.NamespacedName {
	return completed(p, ref.Namespace, ref.Name)
}

// completed is what the policy refers to: without a namespace it is in the policy's own.
func completed(p *v1alpha1.FunnelPolicy, namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: cmp.Or(namespace, p.Namespace), Name: name}
}
