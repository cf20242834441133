// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"github.com/cilium/ebpf"
	bpflink "github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// withTCX lets tests do without on kernels that have it.
var withTCX = true

// tcx returns the hook's attach type.
func (h Hook) tcx() ebpf.AttachType {
	if h == Egress {
		return ebpf.AttachTCXEgress
	}
	return ebpf.AttachTCXIngress
}

// hasTCX reports whether programs can be attached to a link by tcx.
func hasTCX(link netlink.Link) bool {
	_, err := queryTCX(link, Ingress)
	return withTCX && err == nil
}

// queryTCX asks for the programs of a hook; none is no error. ErrNotSupported: the
// kernel has no tcx.
func queryTCX(link netlink.Link, h Hook) (*bpflink.QueryResult, error) {
	found, err := bpflink.QueryPrograms(bpflink.QueryOptions{Target: link.Attrs().Index, Attach: h.tcx()})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
		return &bpflink.QueryResult{}, nil
	case errors.Is(err, unix.EINVAL):
		return nil, ebpf.ErrNotSupported
	case err != nil:
		return nil, fmt.Errorf("ask for the tcx programs of the %s hook: %w", h, err)
	}
	return found, nil
}

// chain is what tcx runs on a hook, in order. The kernel counts its changes in
// revision.
type chain struct {
	programs []chained
	revision uint64
}

// chained is a program of a chain; own is nil when it is somebody else's.
type chained struct {
	id  ebpf.ProgramID
	own *ownProgram
}

// readChain returns an empty chain where the kernel has no tcx.
func readChain(link netlink.Link, h Hook) (chain, error) {
	found, err := queryTCX(link, h)
	if errors.Is(err, ebpf.ErrNotSupported) {
		return chain{}, nil
	}
	if err != nil || len(found.Programs) == 0 {
		return chain{}, err
	}
	marks, err := listMarks(link, h)
	if err != nil {
		return chain{}, err
	}
	c := chain{revision: found.Revision}
	for _, p := range found.Programs {
		item := chained{id: p.ID}
		if name, ours := marks[p.ID]; ours {
			item.own = &ownProgram{name: name, id: p.ID}
		}
		c.programs = append(c.programs, item)
	}
	return c, nil
}

func (c chain) own() []ownProgram {
	var found []ownProgram
	for _, p := range c.programs {
		if p.own != nil {
			found = append(found, *p.own)
		}
	}
	return found
}

// firstOwn is -1 when none is ours.
func (c chain) firstOwn() int {
	return slices.IndexFunc(c.programs, func(p chained) bool { return p.own != nil })
}

// describeOthers describes the programs of others among some of a chain.
func describeOthers(programs []chained) []string {
	var others []string
	for _, p := range programs {
		if p.own == nil {
			others = append(others, fmt.Sprintf("tcx program %d%s", p.id, programName(p.id)))
		}
	}
	return others
}

// programName returns " (name)" where we may look (SYS_ADMIN), else nothing.
func programName(id ebpf.ProgramID) string {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return ""
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil || info.Name == "" {
		return ""
	}
	return " (" + info.Name + ")"
}

// detachTCX takes a program of ours off its hook and its mark away.
func detachTCX(link netlink.Link, h Hook, p ownProgram) error {
	for {
		c, err := readChain(link, h)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(c.programs, func(other chained) bool { return other.id == p.id })
		if at < 0 {
			break
		}
		err = c.detach(link, h, at)
		if errors.Is(err, unix.ESTALE) {
			continue // somebody changed the chain meanwhile
		}
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("detach %s program %d: %w", h, p.id, err)
		}
		break
	}
	return removeMark(link, p.name.mark(p.id))
}

// Flags of BPF_PROG_DETACH in include/uapi/linux/bpf.h.
const (
	flagBefore = 1 << 3
	flagAfter  = 1 << 4
	flagID     = 1 << 5
)

// progDetach is what union bpf_attr is for BPF_PROG_DETACH.
type progDetach struct {
	target, program, kind, flags, _ uint32
	relative                        uint32
	revision                        uint64
}

// detach takes the program at a place of the chain away, which is told to the
// kernel by its neighbour: a descriptor of the program, which the library's own
// call wants, is had only with SYS_ADMIN.
func (c chain) detach(link netlink.Link, h Hook, at int) error {
	attr := progDetach{
		target: uint32(link.Attrs().Index), kind: uint32(h.tcx()), flags: flagAfter, revision: c.revision,
	}
	if at+1 < len(c.programs) {
		attr.flags, attr.relative = flagBefore|flagID, uint32(c.programs[at+1].id)
	}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_DETACH, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(&attr)
	if errno != 0 {
		return errno
	}
	return nil
}
