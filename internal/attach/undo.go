// SPDX-License-Identifier: Apache-2.0

package attach

import "errors"

// undo remembers how to take back what was done.
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
// that fails. It returns all errors.
func (u *undo) run() error {
	var errs []error
	for i := len(u.steps) - 1; i >= 0; i-- {
		errs = append(errs, u.steps[i]())
	}
	u.steps = nil
	return errors.Join(errs...)
}
