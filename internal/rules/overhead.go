// SPDX-License-Identifier: Apache-2.0

package rules

// Overhead is how many bytes rules, of one or both directions, add to a packet at
// most. A rule adds what it pushes, one with reply what it puts in front of the
// answers, and an inline rule nothing.
func Overhead(rs RuleSet) int {
	most := 0
	for _, r := range rs {
		switch a := r.Action; {
		case a.Inline:
		case a.Verb == Funnel:
			most = max(most, headerLength(a.Protocol))
		case a.Verb == Unfunnel && a.Reply:
			most = max(most, headerLength(r.Protocol))
		}
	}
	return most
}

// headerLength is that of a pushed header in bytes: TCP without options, or UDP
// (RFC 9293 section 3.1, RFC 768).
func headerLength(p Protocol) int {
	if p == TCP {
		return 20
	}
	return 8
}
