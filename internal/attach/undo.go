// SPDX-License-Identifier: Apache-2.0

package attach

import "errors"

// errStays is what a step says that can't be taken back any more.
var errStays = errors.New("the new program stays")

// undo remembers how to take back what was done for one interface.
type undo struct {
	steps []func() error
}

// add remembers a step; nil is no step.
func (u *undo) add(step func() error) {
	if step != nil {
		u.steps = append(u.steps, step)
	}
}

// run takes everything back, the last step first, and goes on after a step
// that fails. It returns all errors. Below what stays (errStays) all else stays as
// well: a program without the device that it sends packets to would lose them.
func (u *undo) run() error {
	var errs []error
	for len(u.steps) > 0 {
		last := len(u.steps) - 1
		err := u.steps[last]()
		errs = append(errs, err)
		u.steps = u.steps[:last]
		if errors.Is(err, errStays) {
			u.steps = nil
		}
	}
	return errors.Join(errs...)
}
