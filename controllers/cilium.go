// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"
	"time"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// ciliumConfig is what was read of Cilium's configuration.
type ciliumConfig struct {
	sync.Mutex
	at       time.Time
	atSocket bool
}

// socketLoadBalancing reports whether Cilium picks backends when pods connect. It
// matters to policies that funnel what is sent to Services.
func (r *FunnelPolicyReconciler) socketLoadBalancing(ctx context.Context, p *v1alpha1.FunnelPolicy) (bool, error) {
	if p.Spec.Client == nil && len(p.Spec.Rules.Egress) == 0 {
		return false, nil
	}
	r.cilium.Lock()
	defer r.cilium.Unlock()
	if !r.cilium.at.IsZero() && r.Clock.Since(r.cilium.at) < r.ListSlowly {
		return r.cilium.atSocket, nil
	}
	config, err := getConfigMap(ctx, r.Live, r.CiliumConfig)
	if err != nil {
		return false, err
	}
	r.cilium.at, r.cilium.atSocket = r.Clock.Now(), config != nil && balancesAtSocket(config.Data)
	return r.cilium.atSocket, nil
}

// balancesAtSocket reads Cilium's configuration: replacing kube-proxy brings
// balancing at the socket with it, unless that is for the host's own namespace
// only.
func balancesAtSocket(config map[string]string) bool {
	on := config["kube-proxy-replacement"] == "true" || config["kube-proxy-replacement"] == "strict" || config["bpf-lb-sock"] == "true"
	return on && config["bpf-lb-sock-hostns-only"] != "true"
}
