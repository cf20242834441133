// SPDX-License-Identifier: Apache-2.0

// Package checkout finds the module's files for tests that read more than their
// own folder, and those of the commit before.
package checkout

import (
	"errors"
	"os"
	"path/filepath"
)

// Root returns the directory of the module that the working directory lies in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the working directory lies in no Go module")
		}
		dir = parent
	}
}
