// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestMemoryGoal(t *testing.T) {
	for limit, want := range map[string]int64{"268435456\n": 214748364, "max\n": 0, "": 0, "-1": 0} {
		got, ok := memoryGoal(limit)
		if ok != (want > 0) || ok && got != want {
			t.Errorf("%q: got %d, %v, want %d", limit, got, ok, want)
		}
	}
}
