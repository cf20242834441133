// SPDX-License-Identifier: Apache-2.0

package inject_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// The kubelet keeps 4096 bytes of a message, and 12288 over the number of all
// containers, ours included.
func TestReportLimitFollowsTheKubelet(t *testing.T) {
	rows := []struct {
		name string
		pod  *corev1.Pod
		want string
	}{
		{"2 containers", podWith(), "4096"},
		{"3 containers", podWith(container("b")), "4096"},
		{"4 containers", podWith(container("b"), initContainer("c")), "3072"},
		{"5 containers, one ephemeral", podWith(container("b"), initContainer("c"), ephemeralContainer("d")), "2457"},
		{"31 containers", podWith(thirty), "396"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			for range 2 { // the second time ours is already among them
				mustInject(t, row.pod, nil)
				if got := env(row.pod, "SFUNNEL_REPORT_MAX"); got != row.want {
					t.Errorf("got %s, want %s", got, row.want)
				}
			}
		})
	}
}

func thirty(p *corev1.Pod) {
	for i := range 29 {
		container(fmt.Sprintf("c%d", i))(p)
	}
}

func env(p *corev1.Pod, name string) string {
	for _, v := range p.Spec.InitContainers[0].Env {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}
