// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/sfunnel-io/funnel-operator/internal/datapath"
)

// Attachment is a program of ours on a hook.
type Attachment struct {
	// Interface is the name of the interface that the rules are for, Device of
	// the one that the program sits on: the same, or the segmenting device.
	Interface, Device string
	Name              Name
	// Program is the kernel's id of the program.
	Program uint32
	// InFront describes programs of others that run before it.
	InFront []string
}

// List returns the programs of ours, by interface and hook. It needs no more
// than NET_ADMIN.
func List(w Where) ([]Attachment, error) {
	var found []Attachment
	err := inNamespace(w.Netns, func() (err error) {
		found, err = w.list()
		return datapath.Explain(err)
	})
	return found, err
}

func (w Where) list() ([]Attachment, error) {
	_, chosen, err := w.devices()
	if err != nil {
		return nil, err
	}
	var all []Attachment
	for _, d := range chosen {
		for _, h := range []Hook{Ingress, Egress, Segment} {
			if !w.has(h) {
				continue
			}
			found, err := listHook(d, h)
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", d.name, err)
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

// listHook returns our programs on one hook of an interface.
func listHook(d device, h Hook) ([]Attachment, error) {
	link, err := hookLink(d, h)
	if link == nil || err != nil {
		return nil, err
	}
	programs, err := ownPrograms(link, h)
	if err != nil {
		return nil, err
	}
	var found []Attachment
	for _, p := range programs {
		if p.name.Hook != h {
			continue
		}
		front, err := inFront(link, h)
		if err != nil {
			return nil, err
		}
		found = append(found, Attachment{
			Interface: d.name, Device: link.Attrs().Name, Name: p.name, Program: uint32(p.id), InFront: front,
		})
	}
	return found, nil
}

// hookLink returns the link that a hook of an interface is at, nil when there
// is none (any more).
func hookLink(d device, h Hook) (netlink.Link, error) {
	if h == Segment {
		segment, err := findSegmentDevice(d.index)
		if segment == nil || err != nil {
			return nil, err
		}
		return segment.b, nil
	}
	link, err := netlink.LinkByIndex(d.index)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, nil
	}
	return link, err
}
