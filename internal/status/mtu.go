// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/report"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// The bytes that a pushed header adds: a TCP header without options, or a UDP
// header (RFC 9293 section 3.1, RFC 768).
const (
	tcpHeader = 20
	udpHeader = 8
)

// Overhead is how many bytes the rules for packets that leave the pod add to a
// packet at most.
func Overhead(egress rules.RuleSet) int {
	most := 0
	for _, r := range egress {
		switch {
		case r.Action.Verb != rules.Funnel || r.Action.Inline:
		case r.Action.Protocol == rules.TCP:
			most = max(most, tcpHeader)
		default:
			most = max(most, udpHeader)
		}
	}
	return most
}

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

func (c *Census) mtuWarning() verdict {
	switch r := c.room; {
	case c.overhead == 0:
		return no(v1alpha1.ReasonHeadroomSufficient, "The rules add nothing to packets that leave the pods.")
	case !r.reported:
		return unknown(v1alpha1.ReasonNoReports, fmt.Sprintf("No pod has reported its interfaces yet; the rules add up to %d bytes to a packet.", c.overhead))
	case r.tight.total == 0:
		return no(v1alpha1.ReasonHeadroomSufficient, fmt.Sprintf("Every reported interface leaves room for the %d bytes that the rules add; the smallest MTU is %d.", c.overhead, r.minimum))
	default:
		return yes(v1alpha1.ReasonInsufficientHeadroom, fmt.Sprintf(
			"Full-size packets do not fit after the push: %s. Set MTU %d on these interfaces and on the routers between clients and Service, and leave the pods' route MTU as it is; or lower the pods' route MTU to %d.",
			r.tight, r.routers, r.lower))
	}
}
