// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestMemoryGoal(t *testing.T) {
	for limit, want := range map[string]int64{"268435456\n": 214748364, "max\n": 0, "": 0, "-1": 0} {
		got, ok := memoryGoal(limit)
		if ok != (want > 0) || ok && got != want {
			t.Errorf("%q: got %d, %v, want %d", limit, got, ok, want)
		}
	}
}

func TestRestingManagerGivesBackWhatIsSpare(t *testing.T) {
	for name, c := range map[string]struct {
		before, now  heap
		left         uint64
		rests, spare bool
	}{
		"at rest, half is garbage":           {heap{allocated: 1000}, heap{live: 80, resident: 120, allocated: 1009}, 0, true, true},
		"at rest, given back already":        {heap{allocated: 1000}, heap{live: 80, resident: 85, allocated: 1009}, 0, true, false},
		"at rest, no more could be given":    {heap{allocated: 1000}, heap{live: 80, resident: 116, allocated: 1009}, 110, true, false},
		"at rest, and grown since":           {heap{allocated: 1000}, heap{live: 80, resident: 118, allocated: 1009}, 110, true, true},
		"works, and will need it soon again": {heap{allocated: 1000}, heap{live: 80, resident: 120, allocated: 1010}, 0, false, true},
	} {
		if rests, spare := c.now.rests(c.before), c.now.spare(c.left); rests != c.rests || spare != c.spare {
			t.Errorf("%s: rests %v, spare %v", name, rests, spare)
		}
	}
}

// TestHeapIsRead compares what is read before and after garbage is made and given back.
func TestHeapIsRead(t *testing.T) {
	const size = 64 << 20
	debug.FreeOSMemory()
	before := readHeap()
	garbage := make([]byte, size)
	runtime.KeepAlive(garbage)
	made := readHeap()
	if made.allocated-before.allocated < size || made.resident-before.resident < size/8*7 || !made.spare(0) {
		t.Errorf("before %+v, then %+v", before, made)
	}
	debug.FreeOSMemory()
	if after := readHeap(); after.resident >= made.resident-size/2 || after.live > made.live+size/2 {
		t.Errorf("with garbage %+v, then %+v", made, after)
	}
}
