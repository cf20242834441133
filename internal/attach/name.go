// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// Hook is a place of an interface that a program of ours can sit at.
type Hook string

// The hooks.
const (
	// Ingress sees what arrives at an interface.
	Ingress Hook = "ingress"
	// Egress sees what leaves through an interface.
	Egress Hook = "egress"
	// Segment is the ingress hook of the far end of a segmenting device.
	Segment Hook = "segment"
)

// direction is that of the rules in a hook's program.
func (h Hook) direction() rules.Direction {
	if h == Ingress {
		return rules.Ingress
	}
	return rules.Egress
}

// Name tells whose an attached program is and what it was made of. Filters
// carry it as their name, what tcx attaches in its mark.
type Name struct {
	Hook Hook
	// Version of the attacher that put the program there.
	Version string
	// Digest of the rules in it, as Digest returns it.
	Digest string
	// Flows says whether the program remembers flows, Generation which rules are
	// in it, as flows count them.
	Flows      FlowMark
	Generation uint32
	// Reserved is how many bytes of the interface's MTU routes leave to the
	// program's headers because it was asked for, 0: not asked for.
	Reserved int
}

// FlowMark says what a program remembers of flows.
type FlowMark string

// The marks.
const (
	noFlows        FlowMark = ""
	keepsFlows     FlowMark = "flows"
	unfunnelsFlows FlowMark = "unfunnels" // and it unfunnels what they send
)

const reservedMark = "reserved"

const (
	nameSeparator = "/"
	namePrefix    = "sfunnel" + nameSeparator
)

// KeepsFlows reports whether the program remembers flows.
func (n Name) KeepsFlows() bool { return n.Flows != noFlows }

// String prints "sfunnel/<hook>/<version>/<digest>" and, of a program that
// remembers flows, "/<mark>-<generation>", of one for which room is reserved
// "/reserved-<bytes>", with what could be mistaken replaced by dashes. The kernel
// takes at most 255 bytes.
func (n Name) String() string {
	s := fmt.Sprintf("%s%s/%.64s/%.128s", namePrefix, n.Hook, plain(n.Version), plain(n.Digest))
	if n.Flows != noFlows {
		s += fmt.Sprintf("/%s-%d", n.Flows, n.Generation)
	}
	if n.Reserved > 0 {
		s += fmt.Sprintf("/%s-%d", reservedMark, n.Reserved)
	}
	return s
}

// plain replaces what separates parts of names and marks, spaces and all that does
// not print.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(nameSeparator+markSeparator, r) || r <= ' ' || r > '~' {
			return '-'
		}
		return r
	}, s)
}

// parseName reads what String printed. It returns false for a name that is not
// one of ours.
func parseName(s string) (Name, bool) {
	rest, ours := strings.CutPrefix(s, namePrefix)
	part := strings.Split(rest, nameSeparator)
	if !ours || len(part) < 3 || len(part) > 5 {
		return Name{}, false
	}
	n := Name{Hook: Hook(part[0]), Version: part[1], Digest: part[2]}
	for _, mark := range part[3:] {
		if !n.parseMark(mark) {
			return Name{}, false
		}
	}
	switch n.Hook {
	case Ingress, Egress, Segment:
		return n, true
	}
	return Name{}, false
}

// parseMark reads one of the marks behind the digest, each of which may be there
// once, in the order in which they are printed.
func (n *Name) parseMark(s string) bool {
	mark, text, _ := strings.Cut(s, "-")
	number, err := strconv.ParseUint(text, 10, 31)
	switch {
	case err != nil || n.Reserved > 0:
		return false
	case mark == reservedMark:
		n.Reserved = int(number)
		return number > 0
	case n.Flows == noFlows && (mark == string(keepsFlows) || mark == string(unfunnelsFlows)):
		n.Flows, n.Generation = FlowMark(mark), uint32(number)
		return true
	}
	return false
}
