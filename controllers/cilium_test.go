// SPDX-License-Identifier: Apache-2.0

package controllers

import "testing"

func TestBalancesAtSocket(t *testing.T) {
	for _, test := range []struct {
		name   string
		config map[string]string
		want   bool
	}{
		{"nothing said", nil, false},
		{"beside kube-proxy", map[string]string{"kube-proxy-replacement": "false"}, false},
		{"instead of kube-proxy", map[string]string{"kube-proxy-replacement": "true"}, true},
		{"instead of kube-proxy, as it was called earlier", map[string]string{"kube-proxy-replacement": "strict"}, true},
		{"beside kube-proxy, at the socket", map[string]string{"kube-proxy-replacement": "false", "bpf-lb-sock": "true"}, true},
		{"in the host's namespace only", map[string]string{"kube-proxy-replacement": "true", "bpf-lb-sock-hostns-only": "true"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := balancesAtSocket(test.config); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
