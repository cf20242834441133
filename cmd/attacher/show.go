// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"

	"github.com/sfunnel-io/funnel-operator/internal/attach"
)

// shown is what show says of one program.
type shown struct {
	Interface string   `json:"interface"`
	Device    string   `json:"device"`
	Hook      string   `json:"hook"`
	Program   uint32   `json:"program"`
	Version   string   `json:"version"`
	Digest    string   `json:"digest"`
	InFront   []string `json:"inFront,omitempty"`
}

// showCommand lists our programs and what runs in front of them.
func showCommand(args []string, o outside) int {
	c, rest, err := readChoices("show", args, o.getenv)
	if err != nil {
		return o.bad("%s", oneLine(err))
	}
	if len(rest) > 0 {
		return o.bad("show takes no argument, found %q", rest[0])
	}
	found, err := attach.List(attach.Where{Netns: c.netns, Interfaces: c.interfaces, Directions: c.directions})
	if err != nil {
		return o.failed(err)
	}
	all := make([]shown, len(found))
	for i, a := range found {
		all[i] = shown{
			Interface: a.Interface, Device: a.Device, Hook: string(a.Name.Hook),
			Program: a.Program, Version: a.Name.Version, Digest: a.Name.Digest, InFront: a.InFront,
		}
	}
	if c.json {
		return o.showJSON(all)
	}
	return o.showText(all)
}

func (o outside) showJSON(all []shown) int {
	enc := json.NewEncoder(o.stdout)
	enc.SetIndent("", "  ")
	if err := enc.Encode(all); err != nil {
		return o.failed(err)
	}
	return exitDone
}

func (o outside) showText(all []shown) int {
	if len(all) == 0 {
		o.print("nothing of ours is attached")
	}
	for _, s := range all {
		o.print("%s %s: program %d, attacher %s, rules %s", s.Interface, s.Hook, s.Program, s.Version, s.Digest)
		for _, f := range s.InFront {
			o.print("  in front: %s", f)
		}
	}
	return exitDone
}
