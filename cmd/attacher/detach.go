// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/sfunnel-io/funnel-operator/internal/attach"
)

// detachCommand takes away what is ours.
func detachCommand(args []string, o outside) int {
	c, rest, err := readChoices("detach", args, o.getenv)
	if err != nil {
		return o.bad("%s", oneLine(err))
	}
	if len(rest) > 0 {
		return o.bad("detach takes no argument, found %q", rest[0])
	}
	gone, err := attach.Detach(attach.Where{Netns: c.netns, Interfaces: c.interfaces, Directions: c.directions})
	for _, d := range gone {
		o.print("%s: %s rules detached", d.Interface, d.Name.Hook)
	}
	if err != nil {
		return o.failed(err)
	}
	if len(gone) == 0 {
		o.print("nothing of ours is attached")
	}
	return exitDone
}
