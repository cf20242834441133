// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// selectorsMeet reports whether some labels fulfil both selectors. Keys don't
// depend on each other, so it is enough to look at each key alone.
func selectorsMeet(a, b *metav1.LabelSelector) bool {
	byKey := map[string]*values{}
	for _, s := range []*metav1.LabelSelector{a, b} {
		selector, err := metav1.LabelSelectorAsSelector(s)
		if err != nil {
			return false
		}
		requirements, selectable := selector.Requirements()
		if !selectable {
			return false
		}
		for _, r := range requirements {
			if byKey[r.Key()] == nil {
				byKey[r.Key()] = &values{}
			}
			byKey[r.Key()].restrict(r)
		}
	}
	for _, v := range byKey {
		if !v.possible() {
			return false
		}
	}
	return true
}

// values are those that a label may still have.
type values struct {
	absent, present bool // what is required
	in              sets.Set[string]
	notIn           sets.Set[string]
}

func (v *values) restrict(r labels.Requirement) {
	listed := sets.New(r.ValuesUnsorted()...)
	switch r.Operator() {
	case selection.In, selection.Equals, selection.DoubleEquals:
		v.present = true
		if v.in == nil {
			v.in = listed
		}
		v.in = v.in.Intersection(listed)
	case selection.NotIn, selection.NotEquals:
		v.notIn = listed.Union(v.notIn)
	case selection.Exists:
		v.present = true
	case selection.DoesNotExist:
		v.absent = true
	}
}

// possible: there are more values than any list of them excludes.
func (v *values) possible() bool {
	if v.absent && v.present {
		return false
	}
	return v.in == nil || v.in.Difference(v.notIn).Len() > 0
}

// portsMeet reports whether the sets have a port in common.
func portsMeet(a, b rules.PortSet) bool {
	const ports = 1 << 16
	for port := 0; port < ports; {
		inA, nextA := portRun(a, port)
		inB, nextB := portRun(b, port)
		if inA && inB {
			return true
		}
		port = min(nextA, nextB)
	}
	return false
}

// portRun tells whether the set holds the port, and the next port from which
// that may differ.
func portRun(s rules.PortSet, port int) (holds bool, next int) {
	next = 1 << 16
	for _, r := range s.Ranges {
		for _, edge := range []int{int(r.First), int(r.Last) + 1} {
			if edge > port {
				next = min(next, edge)
			}
		}
	}
	return s.Contains(uint16(port)), next
}

// addressesMeet reports whether the sets have an address in common.
func addressesMeet(a, b rules.AddrSet) bool {
	if len(a.Prefixes) == 0 || len(b.Prefixes) == 0 {
		return true
	}
	if rules.FamilyOf(a.Prefixes[0].Addr()) != rules.FamilyOf(b.Prefixes[0].Addr()) {
		return false
	}
	for _, first := range edges(a, b) {
		if a.Contains(first) && b.Contains(first) {
			return true
		}
	}
	return false
}

// edges are the addresses at which membership in one of the sets can change:
// the family's first address, each prefix's first one, and the one after its
// last.
func edges(sets ...rules.AddrSet) []netip.Addr {
	found := []netip.Addr{netip.IPv4Unspecified()}
	if sets[0].Prefixes[0].Addr().Is6() {
		found[0] = netip.IPv6Unspecified()
	}
	for _, s := range sets {
		for _, p := range s.Prefixes {
			found = append(found, p.Masked().Addr())
			if after := lastAddress(p).Next(); after.IsValid() {
				found = append(found, after)
			}
		}
	}
	return found
}

func lastAddress(p netip.Prefix) netip.Addr {
	bytes := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}
