// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"encoding/binary"
	"net/netip"
)

// pageSize is the number of entries of a page: one for each value of a byte.
const pageSize = 256

// unused stands for a dimension that no rule restricts: it is not looked up.
const unused = 1<<32 - 1

// pages is a tree from ports and IPv4 addresses to classes, which takes one
// byte at each level. The entries of a page are numbers of pages, at the last
// level classes: the path of a port is two pages long, that of an address
// four. Equal pages are stored once, so that a tree is as large as the rules
// make it.
type pages struct {
	*interned[[pageSize]uint16]
	uniform map[uniform]uint16
}

// uniform is a subtree all of whose leaves are one class.
type uniform struct {
	levels int
	class  uint16
}

func newPages() *pages {
	return &pages{newInterned(pageSize/8, hashOfPage), map[uniform]uint16{}}
}

// count is the number of pages.
func (p *pages) count() int { return len(p.values) }

// add stores a page and returns its number. Numbers beyond maxNumber are
// wrong; the caller checks count in the end.
func (p *pages) add(page *[pageSize]uint16) uint16 {
	n, _ := p.number(page)
	return uint16(n)
}

func hashOfPage(page *[pageSize]uint16) uint64 {
	hash := uint64(firstHash)
	for _, entry := range page {
		hash = mix(hash, uint64(entry))
	}
	return hash
}

// addUniform returns the number of a subtree of so many levels in which all is
// one class: without levels, the class itself.
func (p *pages) addUniform(levels int, class uint16) uint16 {
	if levels == 0 {
		return class
	}
	key := uniform{levels, class}
	if n, ok := p.uniform[key]; ok {
		return n
	}
	page := filled(p.addUniform(levels-1, class))
	n := p.add(&page)
	p.uniform[key] = n
	return n
}

func filled(entry uint16) (page [pageSize]uint16) {
	fill(page[:], entry)
	return page
}

// portTree is the tree of a dimension of ports, filled from port 0 on.
type portTree struct {
	pages      *pages
	root, page [pageSize]uint16
	next       int // port
}

// fill gives all ports below end that have none yet a class.
func (t *portTree) fill(end int, class uint16) {
	for t.next < end {
		page, first := t.next/pageSize, t.next%pageSize
		last := min(pageSize, end-page*pageSize)
		t.next = page*pageSize + last
		switch {
		case last-first == pageSize:
			t.root[page] = t.pages.addUniform(1, class)
			continue
		case last == pageSize:
			fill(t.page[first:last], class)
			t.root[page] = t.pages.add(&t.page)
		default:
			fill(t.page[first:last], class)
		}
	}
}

// add returns the root page of a tree that is full.
func (t *portTree) add() uint32 {
	return uint32(t.pages.add(&t.root))
}

func fill(entries []uint16, entry uint16) {
	for i := range entries {
		entries[i] = entry
	}
}

// addPrefixes stores the class of every IPv4 address and returns the root
// page, unused for an empty list.
func (p *pages) addPrefixes(list []PrefixClass) uint32 {
	if len(list) == 0 {
		return unused
	}
	return uint32(p.addSubtree(0, list, 0))
}

// addressLevels is how many pages the path of an IPv4 address has.
const addressLevels = 4

// addSubtree stores the page that decides on byte number depth of an address.
// The list holds the prefixes within, sorted, containing ones first; class is
// what holds where none of them does.
func (p *pages) addSubtree(depth int, list []PrefixClass, class uint16) uint16 {
	classes := filled(class)
	var page [pageSize]uint16
	var further [pageSize]bool
	for len(list) > 0 {
		n, first, last := leading(list, depth)
		if n > 0 {
			page[first], further[first] = p.addSubtree(depth+1, list[:n], classes[first]), true
			list = list[n:]
			continue
		}
		fill(classes[first:last+1], list[0].Class)
		list = list[1:]
	}
	for i := range page {
		switch {
		case further[i]:
		case i > 0 && !further[i-1] && classes[i] == classes[i-1]:
			page[i] = page[i-1]
		default:
			page[i] = p.addUniform(addressLevels-depth-1, classes[i])
		}
	}
	return p.add(&page)
}

// leading returns which entries of a page the first prefix of a list decides on. Where
// that takes a further page, n is how many of the list that page has to hold.
func leading(list []PrefixClass, depth int) (n, first, last int) {
	first, last = entriesOf(list[0].Prefix, depth)
	for _, l := range list {
		if l.Prefix.Bits() <= 8*(depth+1) || int(l.Prefix.Addr().As4()[depth]) != first {
			break
		}
		n++
	}
	return n, first, last
}

// entriesOf returns which values byte number depth has in the addresses of an
// IPv4 prefix.
func entriesOf(prefix netip.Prefix, depth int) (first, last int) {
	first = int(prefix.Addr().As4()[depth])
	free := max(0, 8*(depth+1)-prefix.Bits()) // bits of the byte that are open
	return first, first + 1<<min(free, 8) - 1
}

// port and address look a value up, as bpf/classify.h does.
func (p *pages) port(root uint32, port uint16) int {
	return p.walk(root, binary.BigEndian.AppendUint16(nil, port))
}

func (p *pages) address(root uint32, a netip.Addr) int {
	return p.walk(root, a.AsSlice())
}

func (p *pages) walk(root uint32, value []byte) int {
	at := int(root)
	for _, b := range value {
		at = int(p.values[at][b])
	}
	return at
}
