// SPDX-License-Identifier: Apache-2.0

package survey

import "slices"

// A Stream is what became of the datagrams that one socket sent to one target. Their
// numbers are milliseconds since its start.
type Stream struct {
	Target string  `json:"target"`
	Sent   int     `json:"sent"`             // the number of the last one sent
	Spells []Spell `json:"spells,omitempty"` // in the order of the answers
}

// A Spell is a row of answers by one pod: the numbers of the first and of the last
// datagram that it answered.
type Spell struct {
	Pod   string `json:"pod"`
	First int    `json:"first"`
	Last  int    `json:"last"`
}

// Add notes that a pod answered the datagram of that number.
func (s *Stream) Add(pod string, number int) {
	if last := len(s.Spells) - 1; last < 0 || s.Spells[last].Pod != pod {
		s.Spells = append(s.Spells, Spell{Pod: pod, First: number})
	}
	s.Spells[len(s.Spells)-1].Last = number
}

// Now is the spell that goes on, or the last one; empty before the first answer.
func (s Stream) Now() Spell {
	if len(s.Spells) == 0 {
		return Spell{}
	}
	return s.Spells[len(s.Spells)-1]
}

// Clone is a copy that shares nothing.
func (s Stream) Clone() Stream {
	s.Spells = slices.Clone(s.Spells)
	return s
}
