// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// A manager at rest is scraped: what that leaves must not look like work.
func TestAScrapeLeavesLittleGarbage(t *testing.T) {
	const many, most = 2000, 0.5 // allocations a policy
	var all []*v1alpha1.FunnelPolicy
	for i := range many {
		p := &v1alpha1.FunnelPolicy{}
		p.Namespace, p.Name = "shop", fmt.Sprint("p", i)
		p.Status.Pods.Attached = 1
		for _, kind := range []string{"Accepted", "Programmed", "Attached", "Ready"} {
			p.Status.Conditions = append(p.Status.Conditions, metav1.Condition{Type: kind, Status: "True", Reason: kind, Message: "p is as it should be."})
		}
		cutPolicy(p)
		all = append(all, p)
	}
	out := make(chan prometheus.Metric, 100)
	each := testing.AllocsPerRun(3, func() {
		sum(all, out)
		for len(out) > 0 {
			<-out
		}
	}) / many
	if each > most {
		t.Errorf("%.1f allocations a policy", each)
	}
}
