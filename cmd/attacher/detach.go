// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/sfunnel-io/funnel-operator/internal/attach"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// detachCommand takes away what is ours.
func detachCommand(args []string, o outside) int {
	c, err := detachChoices("detach", args, o)
	if err != nil {
		return o.bad("%s", oneLine(err))
	}
	return o.detach(c)
}

// cleanCommand is what the variable CLEAN asks for in place of attach, with the flags of
// attach: like attaching a ruleset, it is about ingress unless a direction is named.
func cleanCommand(args []string, o outside) int {
	c, err := detachChoices("attach", args, o)
	if err != nil {
		return o.bad("%s", oneLine(err))
	}
	if len(c.directions) == 0 {
		c.directions = []rules.Direction{rules.Ingress}
	}
	return o.detach(c)
}

func detachChoices(command string, args []string, o outside) (choices, error) {
	c, rest, err := readChoices(command, args, o.getenv)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("detach takes no argument, found %q", rest[0])
	}
	return c, err
}

func (o outside) detach(c choices) int {
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
