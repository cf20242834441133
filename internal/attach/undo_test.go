// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"slices"
	"testing"
)

func TestUndo(t *testing.T) {
	var u undo
	var ran []int
	boom := errors.New("boom")
	for i, err := range []error{nil, boom, nil} {
		u.add(func() error { ran = append(ran, i); return err })
	}
	u.add(nil)
	stays := errStays
	u.steps[1].stays = func() error { return stays }
	if err := u.run(); !errors.Is(err, errStays) || len(ran) != 0 {
		t.Errorf("one step stays: %v, ran %v", err, ran)
	}
	stays = nil
	if err := u.run(); !errors.Is(err, boom) || !slices.Equal(ran, []int{2, 1, 0}) {
		t.Errorf("got %v, ran %v", err, ran)
	}
	if err := u.run(); err != nil || len(ran) != 3 {
		t.Errorf("a second time: %v, ran %v", err, ran)
	}
}
