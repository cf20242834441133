// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A program that tcx attaches has no name that could be read without SYS_ADMIN.
// Its mark says whose it is: an alternative name of the interface, made of the
// program's name and the kernel's id of it. It is there before the program is, and
// goes after it; one without its program says nothing.

const (
	markSeparator = ","
	programMark   = "program-"
	// markVersion is how much of a version a mark has; the kernel takes 127 bytes of
	// an alternative name (ALTIFNAMSIZ).
	markVersion = 32
)

func (n Name) mark(id ebpf.ProgramID) string {
	n.Version = n.Version[:min(len(n.Version), markVersion)]
	return strings.ReplaceAll(n.String(), nameSeparator, markSeparator) + markSeparator + programMark + strconv.Itoa(int(id))
}

// parseMark reads what mark printed; false for a name that is none.
func parseMark(s string) (Name, ebpf.ProgramID, bool) {
	end := strings.LastIndex(s, markSeparator)
	if end < 0 {
		return Name{}, 0, false
	}
	text, marked := strings.CutPrefix(s[end+1:], programMark)
	id, err := strconv.ParseUint(text, 10, 32)
	name, ours := parseName(strings.ReplaceAll(s[:end], markSeparator, nameSeparator))
	return name, ebpf.ProgramID(id), marked && err == nil && ours
}

// listMarks returns the marks of a hook.
func listMarks(link netlink.Link, h Hook) (map[ebpf.ProgramID]Name, error) {
	now, err := netlink.LinkByIndex(link.Attrs().Index)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the alternative names: %w", err)
	}
	marks := map[ebpf.ProgramID]Name{}
	for _, s := range now.Attrs().AltNames {
		if name, id, ok := parseMark(s); ok && name.Hook == h {
			marks[id] = name
		}
	}
	return marks, nil
}

func addMark(link netlink.Link, mark string) error {
	if err := netlink.LinkAddAltName(link, mark); err != nil {
		return fmt.Errorf("add alternative name %s: %w", mark, err)
	}
	return nil
}

// removeMark removes a mark; one that is gone is no error.
func removeMark(link netlink.Link, mark string) error {
	err := netlink.LinkDelAltName(link, mark)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("remove alternative name %s: %w", mark, err)
	}
	return nil
}

// sweepMarks removes the marks of a hook whose program is gone, which a process
// that ended too early leaves.
func sweepMarks(link netlink.Link, h Hook, c chain) error {
	marks, err := listMarks(link, h)
	for _, p := range c.programs {
		delete(marks, p.id)
	}
	for id, name := range marks {
		err = errors.Join(err, removeMark(link, name.mark(id)))
	}
	return err
}
