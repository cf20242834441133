// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"encoding/binary"
	"slices"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

const (
	pageSize = 256   // entries of a page, and pages of a port dimension
	allPorts = 65536 // number of ports, 0 included
)

// unused stands for a dimension that no rule restricts: it is not looked up.
const unused = 1<<32 - 1

// pages is a two-level table from port to class. A page has 256 entries. The
// root page of a dimension gives, for the upper byte of a port, the number of
// the page that gives the class for the lower byte. Equal pages are stored
// once, so that a table is as large as the rules make it.
type pages struct {
	entries []uint16
	numbers map[string]int
}

// add stores a page and returns its number.
func (p *pages) add(page []uint16) int {
	key := make([]byte, 0, 2*pageSize)
	for _, entry := range page {
		key = binary.NativeEndian.AppendUint16(key, entry)
	}
	if n, ok := p.numbers[string(key)]; ok {
		return n
	}
	n := len(p.entries) / pageSize
	p.numbers[string(key)] = n
	p.entries = append(p.entries, page...)
	return n
}

// addDimension stores the class of every port and returns the root page.
func (p *pages) addDimension(classOf []uint16) uint32 {
	root := make([]uint16, pageSize)
	for i := range root {
		root[i] = uint16(p.add(classOf[i*pageSize : (i+1)*pageSize]))
	}
	return uint32(p.add(root))
}

// class looks a port up, as port_class does in bpf/classify.h.
func (p *pages) class(root uint32, port uint16) int {
	page := p.entries[int(root)*pageSize+int(port>>8)]
	return int(p.entries[int(page)*pageSize+int(port&0xff)])
}

// change is a port at which a rule begins or ceases to be satisfied.
type change struct {
	port, rule int
	on         bool
}

// compilePorts returns the root page of a dimension, given the port set of
// each rule, or unused when no set restricts anything.
func (c *compiler) compilePorts(sets []rules.PortSet) (uint32, error) {
	start, changes := portChanges(sets)
	if len(changes) == 0 {
		return unused, nil
	}
	classOf := make([]uint16, allPorts)
	port := 0
	for len(changes) > 0 {
		class, err := c.class(start)
		if err != nil {
			return 0, err
		}
		for ; port < changes[0].port; port++ {
			classOf[port] = class
		}
		for len(changes) > 0 && changes[0].port == port {
			start.set(changes[0].rule, changes[0].on)
			changes = changes[1:]
		}
	}
	class, err := c.class(start)
	for ; port < allPorts; port++ {
		classOf[port] = class
	}
	return c.pages.addDimension(classOf), err
}

// portChanges returns the rules that port 0 satisfies and, in ascending order
// of ports, how that set changes. The ranges of a set neither overlap nor
// touch.
func portChanges(sets []rules.PortSet) (start bitmap, changes []change) {
	start = newBitmap(len(sets))
	for i, s := range sets {
		start.set(i, s.Contains(0))
		for _, r := range s.Ranges {
			changes = append(changes, change{int(r.First), i, !s.Not}, change{int(r.Last) + 1, i, s.Not})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return a.port - b.port })
	for len(changes) > 0 && changes[len(changes)-1].port == allPorts {
		changes = changes[:len(changes)-1]
	}
	return start, changes
}
