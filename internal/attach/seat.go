// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	bpflink "github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sfunnel-io/funnel-operator/internal/datapath"
)

// seat is a program that tcx runs first on its hook.
//
// One that follows an older program of ours sits down in front of it and ends the
// chain (datapath.Programs.EndChain), so that every packet meets one of the two,
// until settle removes the older one. That takes no descriptor of the older program,
// and leaving makes everything as it was. Where others sit behind, whom this would
// keep packets from, the older program is replaced at once instead, which takes
// SYS_ADMIN.
type seat struct {
	link    netlink.Link
	program *ebpf.Program
	name    Name
	id      ebpf.ProgramID
	// older are ours that go when the seat is settled; replaced is the first of
	// them if the new program has its place.
	older    []ownProgram
	replaced *ebpf.Program
	endChain func(on bool) error
	settled  bool
}

// sit attaches a program. endChain is how to keep packets from what sits behind.
func sit(link netlink.Link, p *ebpf.Program, name Name, endChain func(on bool) error) (*seat, error) {
	info, err := p.Info()
	if err != nil {
		return nil, err
	}
	id, _ := info.ID()
	c, err := readChain(link, name.Hook)
	if err != nil {
		return nil, err
	}
	s := &seat{link: link, program: p, name: name, id: id, older: c.own(), endChain: endChain}
	err = sweepMarks(link, name.Hook, c)
	if err == nil {
		err = addMark(link, name.mark(id))
	}
	if err == nil {
		err = s.enter(c)
	}
	if err != nil {
		return nil, errors.Join(err, removeMark(link, name.mark(id)))
	}
	return s, nil
}

// enter puts the program in front.
func (s *seat) enter(c chain) error {
	anchor := bpflink.Head()
	if first := c.firstOwn(); first >= 0 {
		behind, err := s.behind(c.programs[first+1:])
		if err != nil {
			return err
		}
		if len(behind) > 0 {
			if s.replaced, err = ebpf.NewProgramFromID(c.programs[first].id); err != nil {
				return &datapath.SysAdminError{
					What: fmt.Sprintf("replacing our %s program in front of others (%s)", s.name.Hook, strings.Join(behind, ", ")), Err: err,
				}
			}
			anchor = bpflink.ReplaceProgram(s.replaced)
		} else {
			if err := s.endChain(true); err != nil {
				return err
			}
			anchor = bpflink.BeforeProgramByID(c.programs[first].id)
		}
	}
	err := bpflink.RawAttachProgram(bpflink.RawAttachProgramOptions{
		Target: s.link.Attrs().Index, Program: s.program, Attach: s.name.Hook.tcx(), Anchor: anchor,
	})
	if errors.Is(err, unix.ERANGE) {
		return fmt.Errorf("the %s hook has as many programs as it can have (%d): %w", s.name.Hook, len(c.programs), err)
	}
	return err
}

// behind describes what others have behind ours: among the programs of the chain,
// and filters, which run after them.
func (s *seat) behind(programs []chained) ([]string, error) {
	others := describeOthers(programs)
	filters, err := listFilters(s.link, s.name.Hook)
	for _, f := range filters {
		others = append(others, describeFilter(f))
	}
	return others, err
}

// settle ends what is left of the older programs.
func (s *seat) settle() error {
	if len(s.older) == 0 {
		return nil
	}
	s.settled = true
	for _, p := range s.older {
		if err := p.remove(s.link, s.name.Hook); err != nil {
			return err
		}
	}
	return s.endChain(false)
}

// stays is an error once the older programs go: no program at all would be worse for the
// flows.
func (s *seat) stays() error {
	if !s.settled {
		return nil
	}
	return fmt.Errorf("%s: %w, the one before is gone", s.name.Hook, errStays)
}

// leave takes the program away again, unless it stays.
func (s *seat) leave() error {
	var err error
	index, kind := s.link.Attrs().Index, s.name.Hook.tcx()
	switch {
	case s.replaced != nil:
		err = bpflink.RawAttachProgram(bpflink.RawAttachProgramOptions{
			Target: index, Program: s.replaced, Attach: kind, Anchor: bpflink.ReplaceProgram(s.program),
		})
	default:
		err = bpflink.RawDetachProgram(bpflink.RawDetachProgramOptions{Target: index, Program: s.program, Attach: kind})
	}
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("take the %s program back: %w", s.name.Hook, err)
	}
	return removeMark(s.link, s.name.mark(s.id))
}

func (s *seat) close() {
	if s.replaced != nil {
		s.replaced.Close()
	}
}
