// SPDX-License-Identifier: Apache-2.0

// Package version is which build of our programs runs.
package version

import (
	"cmp"
	"runtime/debug"
)

// Set by the linker (hack/images.sh), empty otherwise.
var (
	release  string // as v1.2.3
	revision string // the commit, with "-modified" behind it when the checkout was
)

// String returns the release; for a build of none the version that the Go command writes into
// programs, or the commit; "devel" when nothing is known.
func String() string {
	stamped := read().Main.Version
	if stamped == "(devel)" {
		stamped = ""
	}
	return cmp.Or(release, stamped, revision, "devel")
}

// Revision returns the commit, "unknown" when it is not known.
func Revision() string {
	if revision != "" {
		return revision
	}
	for _, setting := range read().Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value
		}
	}
	return "unknown"
}

// read returns what the Go command wrote into the program, empty when it wrote nothing.
func read() *debug.BuildInfo {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info
	}
	return &debug.BuildInfo{}
}
