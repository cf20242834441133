// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// ciliumConfig is what was read of Cilium's configuration.
type ciliumConfig struct {
	sync.Mutex
	read, atSocket bool
}

// sendsToServices reports whether the policy funnels what is sent to Services.
func sendsToServices(p *v1alpha1.FunnelPolicy) bool {
	return p.Spec.Client != nil || len(p.Spec.Rules.Egress) > 0
}

// socketLoadBalancing reports whether Cilium picks backends when pods connect, which
// matters to policies that send to Services. It reads the configuration once.
func (r *FunnelPolicyReconciler) socketLoadBalancing(ctx context.Context, p *v1alpha1.FunnelPolicy) (bool, error) {
	if !sendsToServices(p) {
		return false, nil
	}
	r.cilium.Lock()
	defer r.cilium.Unlock()
	if r.cilium.read {
		return r.cilium.atSocket, nil
	}
	atSocket, err := r.readCilium(ctx)
	if err == nil {
		r.cilium.read, r.cilium.atSocket = true, atSocket
	}
	return atSocket, err
}

// followCilium reads the configuration again if it was read, and enqueues the policies to
// which it matters when it says something else: one look for all of them.
func (r *FunnelPolicyReconciler) followCilium(ctx context.Context, queue requests) {
	r.cilium.Lock()
	defer r.cilium.Unlock()
	if !r.cilium.read {
		return
	}
	atSocket, err := r.readCilium(ctx)
	if err != nil {
		log.FromContext(ctx).Error(err, "read Cilium's configuration again")
		return
	}
	if atSocket == r.cilium.atSocket {
		return
	}
	r.cilium.atSocket = atSocket
	for _, p := range r.policies.all() {
		if sendsToServices(p) {
			delayed{queue, r.sometime}.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(p)})
		}
	}
}

func (r *FunnelPolicyReconciler) readCilium(ctx context.Context) (atSocket bool, err error) {
	config, err := r.liveConfigMap(ctx, r.CiliumConfig)
	return config != nil && balancesAtSocket(config.Data), err
}

// balancesAtSocket reads Cilium's configuration: replacing kube-proxy brings
// balancing at the socket with it, unless that is for the host's own namespace
// only.
func balancesAtSocket(config map[string]string) bool {
	on := config["kube-proxy-replacement"] == "true" || config["kube-proxy-replacement"] == "strict" || config["bpf-lb-sock"] == "true"
	return on && config["bpf-lb-sock-hostns-only"] != "true"
}
