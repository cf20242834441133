// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/sfunnel-io/funnel-operator/internal/datapath"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// Where says what Detach and List look at.
type Where struct {
	// Netns as in Options.
	Netns string
	// Interfaces by name; empty: all of the namespace.
	Interfaces []string
	// Directions; empty: both.
	Directions []rules.Direction
}

func (w Where) has(h Hook) bool {
	if len(w.Directions) == 0 {
		return true
	}
	return slices.Contains(w.Directions, h.direction())
}

// Detached is a program that Detach took away.
type Detached struct {
	Interface string
	Name      Name
}

// Detach takes away the programs and segmenting devices of ours and nothing
// else. The clsact qdisc goes when ours were the last filters on it. Detach goes on after an interface that fails and
// returns all errors; when there is nothing to take away it does nothing.
func Detach(w Where) ([]Detached, error) {
	var gone []Detached
	err := inNamespace(w.Netns, func() (err error) {
		gone, err = w.detach()
		return datapath.Explain(err)
	})
	return gone, err
}

func (w Where) detach() ([]Detached, error) {
	devices, chosen, err := w.devices()
	if err != nil {
		return nil, err
	}
	var gone []Detached
	var errs []error
	for _, d := range chosen {
		found, err := w.detachFrom(d)
		gone = append(gone, found...)
		if err != nil {
			errs = append(errs, fmt.Errorf("detach %s: %w", d.name, err))
		}
	}
	return gone, errors.Join(append(errs, w.removeOrphans(devices))...)
}

// devices returns all devices of the namespace and those to look at.
func (w Where) devices() (all, chosen []device, err error) {
	if all, err = listDevices(); err == nil {
		chosen, err = w.choose(all)
	}
	return all, chosen, err
}

// choose returns the devices to look at; ends of segmenting devices go with
// the interface that they belong to.
func (w Where) choose(devices []device) ([]device, error) {
	if err := missing(devices, w.Interfaces); err != nil {
		return nil, err
	}
	var chosen []device
	for _, d := range devices {
		if !d.ours() && (len(w.Interfaces) == 0 || slices.ContainsFunc(w.Interfaces, d.named)) {
			chosen = append(chosen, d)
		}
	}
	return chosen, nil
}

// detachFrom takes egress away before the segmenting device that it sends to, and
// the clsact qdisc only where filters attached ours: tcx needs none, and one that is
// there is somebody else's.
func (w Where) detachFrom(d device) ([]Detached, error) {
	link, err := netlink.LinkByIndex(d.index)
	if err != nil {
		return nil, err
	}
	byTCX, err := attachesByTCX(link)
	if err != nil {
		return nil, err
	}
	var gone []Detached
	for _, h := range []Hook{Egress, Ingress} {
		if !w.has(h) {
			continue
		}
		names, err := removeOwn(link, h)
		for _, n := range names {
			gone = append(gone, Detached{Interface: d.name, Name: n})
			_, backErr := reservation{before: n.Reserved}.reserve(d)
			err = errors.Join(err, backErr)
		}
		if err != nil {
			return gone, err
		}
	}
	if len(gone) > 0 && !byTCX {
		err = removeEmptyClsact(link)
	}
	if w.has(Egress) {
		err = errors.Join(err, removeSegmentDevice(d.index))
	}
	return gone, err
}

// removeOrphans removes segmenting devices whose interface is gone.
func (w Where) removeOrphans(devices []device) error {
	if len(w.Interfaces) > 0 || !w.has(Egress) {
		return nil
	}
	var errs []error
	for _, d := range devices {
		index, _, ok := parseSegmentName(d.name)
		exists := slices.ContainsFunc(devices, func(other device) bool { return other.index == index })
		if ok && !exists {
			errs = append(errs, removeSegmentDevice(index))
		}
	}
	return errors.Join(errs...)
}

// removeSegmentDevice removes the segmenting device of an interface if there is
// one.
func removeSegmentDevice(index int) error {
	d, err := findSegmentDevice(index)
	if err != nil || d == nil {
		return err
	}
	return d.remove()
}
