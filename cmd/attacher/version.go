// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime/debug"
)

// version is the module's version as the Go tool chain stamps it: a release, or
// a time and commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

func versionCommand(args []string, o outside) int {
	if len(args) > 0 {
		return o.bad("version takes no argument, found %q", args[0])
	}
	o.print("attacher %s", version())
	return exitDone
}
