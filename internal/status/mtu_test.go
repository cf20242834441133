// SPDX-License-Identifier: Apache-2.0

package status

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/report"
)

func TestMTUWarning(t *testing.T) {
	eth0 := func(mtu, headroom int) func(*corev1.Pod) {
		return reporting(attachedWith(currentDigest, report.Interface{Name: "eth0", MTU: mtu, Headroom: headroom}))
	}
	for _, test := range []struct {
		name     string
		mode     v1alpha1.MTUMode
		overhead int
		pods     []*corev1.Pod
		mtu      *v1alpha1.MTUStatus
		want     verdict
	}{
		{"nothing is added", v1alpha1.MTUWarn, 0, []*corev1.Pod{pod("a", eth0(1500, 0))},
			&v1alpha1.MTUStatus{Minimum: 1500},
			no("HeadroomSufficient", "The rules add nothing to packets that leave the pods.")},
		{"no report", v1alpha1.MTUWarn, 20, []*corev1.Pod{pod("a", injectedPod)},
			nil,
			unknown("NoReports", "No pod has reported its interfaces yet; the rules add up to 20 bytes to a packet.")},
		{"room", v1alpha1.MTUWarn, 20, []*corev1.Pod{pod("a", eth0(1500, 20)), pod("b", eth0(9000, 7500))},
			&v1alpha1.MTUStatus{Minimum: 1500, Overhead: 20},
			no("HeadroomSufficient", "Every reported interface leaves room for the 20 bytes that the rules add; the smallest MTU is 1500.")},
		{"no room", v1alpha1.MTUWarn, 20, []*corev1.Pod{pod("b", eth0(9000, 7500)), pod("a", eth0(1500, 0))},
			&v1alpha1.MTUStatus{Minimum: 1500, Overhead: 20},
			yes("InsufficientHeadroom", "Full-size packets do not fit after the push: pod a eth0: MTU 1500, 20 bytes needed, 0 free. Set MTU 1520 on these interfaces and on the routers between clients and Service, and leave the pods' route MTU as it is; or set spec.mtu to Reserve and roll the pods out: it lowers their route MTU to 1480, so that TCP and UDP sockets that heed the path MTU send smaller packets.")},
		{"too little room, and several MTUs", v1alpha1.MTUWarn, 20, []*corev1.Pod{pod("a", eth0(1500, 8)), pod("b", eth0(1400, 0))},
			&v1alpha1.MTUStatus{Minimum: 1400, Overhead: 20},
			yes("InsufficientHeadroom", "Full-size packets do not fit after the push: pod a eth0: MTU 1500, 20 bytes needed, 8 free, pod b eth0: MTU 1400, 20 bytes needed, 0 free. Set MTU 1512 on these interfaces and on the routers between clients and Service, and leave the pods' route MTU as it is; or set spec.mtu to Reserve and roll the pods out: it lowers their route MTU to 1380, so that TCP and UDP sockets that heed the path MTU send smaller packets.")},
		{"no room in spite of Reserve", v1alpha1.MTUReserve, 20, []*corev1.Pod{pod("a", eth0(1500, 0))},
			&v1alpha1.MTUStatus{Minimum: 1500, Overhead: 20},
			yes("InsufficientHeadroom", "Full-size packets do not fit after the push: pod a eth0: MTU 1500, 20 bytes needed, 0 free. Set MTU 1520 on these interfaces and on the routers between clients and Service, and leave the pods' route MTU as it is; or replace these pods, which started before spec.mtu was Reserve or could not lower their route MTU to 1480.")},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := censusOf(test.overhead, test.pods...)
			if diff := cmp.Diff(test.want, c.mtuWarning(test.mode), cmp.AllowUnexported(verdict{})); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.mtu, c.mtuStatus()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
