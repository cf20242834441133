// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestUndo(t *testing.T) {
	var u undo
	var ran []int
	boom := errors.New("boom")
	for i, err := range []error{nil, boom, fmt.Errorf("egress: %w", errStays), boom, nil} {
		u.add(func() error { ran = append(ran, i); return err })
	}
	u.add(nil)
	err := u.run()
	if !errors.Is(err, boom) || !errors.Is(err, errStays) {
		t.Errorf("got %v", err)
	}
	if want := []int{4, 3, 2}; !slices.Equal(ran, want) {
		t.Errorf("ran %v, want %v: what is below stays", ran, want)
	}
	if err := u.run(); err != nil || len(ran) != 3 {
		t.Errorf("a second time: %v, ran %v", err, ran)
	}
}
