// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/report"
)

// room sums up what pods report about their interfaces, in bytes.
type room struct {
	reported bool
	minimum  int    // smallest MTU
	tight    sample // interfaces where a pushed packet of full size does not fit
	routers  int    // the largest packet after the push: what routers must carry
	lower    int    // the largest route MTU that leaves room everywhere
}

func (r *room) add(pod string, from report.Report, overhead int) {
	for _, i := range from.Interfaces {
		r.see(i.MTU)
		if overhead <= i.Headroom {
			continue
		}
		r.tight.add(fmt.Sprintf("pod %s %s: MTU %d, %d bytes needed, %d free", pod, i.Name, i.MTU, overhead, max(i.Headroom, 0)))
		r.need(i.MTU-i.Headroom+overhead, i.MTU-overhead)
	}
}

func (r *room) see(mtu int) {
	if !r.reported || mtu < r.minimum {
		r.minimum = mtu
	}
	r.reported = true
}

func (r *room) need(routers, lower int) {
	r.routers = max(r.routers, routers)
	if r.lower == 0 || lower < r.lower {
		r.lower = lower
	}
}

func (r *room) merge(other room) {
	if other.reported {
		r.see(other.minimum)
	}
	r.tight.merge(other.tight)
	if other.routers > 0 {
		r.need(other.routers, other.lower)
	}
}

// mtuStatus is status.mtu, nil before any pod reported.
func (c *Census) mtuStatus() *v1alpha1.MTUStatus {
	if !c.room.reported {
		return nil
	}
	return &v1alpha1.MTUStatus{Minimum: int32(c.room.minimum), Overhead: int32(c.overhead)}
}

// mtuWarning answers whether some interface has no room for what the rules add.
func (c *Census) mtuWarning(mode v1alpha1.MTUMode) verdict {
	switch r := c.room; {
	case c.overhead == 0:
		return no(v1alpha1.ReasonHeadroomSufficient, "The rules add nothing to packets that leave the pods.")
	case !r.reported:
		return unknown(v1alpha1.ReasonNoReports, fmt.Sprintf("No pod has reported its interfaces yet; the rules add up to %d bytes to a packet.", c.overhead))
	case r.tight.total == 0:
		return no(v1alpha1.ReasonHeadroomSufficient, fmt.Sprintf("Every reported interface leaves room for the %d bytes that the rules add; the smallest MTU is %d.", c.overhead, r.minimum))
	default:
		return yes(v1alpha1.ReasonInsufficientHeadroom, fmt.Sprintf(
			"Full-size packets do not fit after the push: %s. Set MTU %d on these interfaces and on the routers between clients and Service, and leave the pods' route MTU as it is; or %s.",
			r.tight, r.routers, r.makeRoom(mode)))
	}
}

// makeRoom is what to do about it in the pods.
func (r room) makeRoom(mode v1alpha1.MTUMode) string {
	if mode == v1alpha1.MTUReserve {
		return fmt.Sprintf("replace these pods, which started before spec.mtu was Reserve or could not lower their route MTU to %d", r.lower)
	}
	return fmt.Sprintf("set spec.mtu to Reserve and roll the pods out: it lowers their route MTU to %d, so that TCP and UDP sockets that heed the path MTU send smaller packets", r.lower)
}
