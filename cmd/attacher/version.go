// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/sfunnel-io/funnel-operator/internal/version"

func versionCommand(args []string, o outside) int {
	if len(args) > 0 {
		return o.bad("version takes no argument, found %q", args[0])
	}
	o.print("attacher %s", version.String())
	return exitDone
}
