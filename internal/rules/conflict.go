// SPDX-License-Identifier: Apache-2.0

package rules

// MarkerConflict returns a rule of rs and one of other, by their indexes, that
// push, or unfunnel, different inner protocols under outer headers that they
// share: whoever receives such a packet can't tell what is inside.
func (rs RuleSet) MarkerConflict(other RuleSet) (mine, others int, ok bool) {
	rs, other = rs.Canonical(), other.Canonical()
	markers, otherMarkers := rs.markers(), other.markers()
	for i := range rs {
		if j, ok := other.conflictWith(&rs[i], &markers[i], otherMarkers); ok {
			return i, j, true
		}
	}
	return 0, 0, false
}

// conflictWith returns the first rule whose marker means something else to r.
func (rs RuleSet) conflictWith(r, marker *Rule, markers []Rule) (int, bool) {
	if marker.Protocol == 0 {
		return 0, false
	}
	for j := range rs {
		if rs[j].Action.Verb == r.Action.Verb && innerProtocol(&rs[j]) != innerProtocol(r) && overlaps(&markers[j], marker) {
			return j, true
		}
	}
	return 0, false
}
