// SPDX-License-Identifier: Apache-2.0

package attach

import "errors"

// undo remembers how to take back what was done for one interface.
type undo struct {
	steps []step
}

// step is one that was done.
type step struct {
	back func() error
	// stays is why it can't be taken back any more, nil when it can.
	stays func() error
}

// add remembers a step; nil is no step.
func (u *undo) add(back func() error) {
	if back != nil {
		u.steps = append(u.steps, step{back, func() error { return nil }})
	}
}

// errStays is why a step can't be taken back.
var errStays = errors.New("the new program stays")

// run takes everything back, the last step first, and goes on after a step
// that fails. It returns all errors. When one step can't be taken back none is: the
// programs of both hooks belong together, and without the device that it sends packets
// to a program would lose them.
func (u *undo) run() error {
	var errs []error
	for _, s := range u.steps {
		errs = append(errs, s.stays())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for i := len(u.steps) - 1; i >= 0; i-- {
		errs = append(errs, u.steps[i].back())
	}
	u.steps = nil
	return errors.Join(errs...)
}
