// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"encoding/binary"
	"math/bits"
)

// encode lays out the sets of rules that the classes stand for.
//
// Up to 64 rules the record of a class is the set itself, one word. With more
// rules the record is a summary word, whose bit w says that word w of the set
// is not empty, and then one 16-bit block number for each 8 words of the set.
// Equal blocks are stored once: sets differ in few places, and most of a set
// is empty.
func (t *Table) encode(c *classes) {
	t.record, t.stride = c.record, c.stride
	if !t.direct() {
		t.blocks = c.blocks.values
	}
}

// direct reports whether a set of rules is one word.
func (t *Table) direct() bool {
	return len(t.rules) <= 64
}

// summary returns the first word of a class's record.
func (t *Table) summary(class int) uint64 {
	return t.record[class*t.stride]
}

// word returns a word of the set of rules that a class stands for.
func (t *Table) word(class, word int) uint64 {
	var numbers []byte
	for _, w := range t.record[class*t.stride+1 : (class+1)*t.stride] {
		numbers = binary.NativeEndian.AppendUint64(numbers, w)
	}
	block := int(binary.NativeEndian.Uint16(numbers[word/blockWords*2:]))
	return t.blocks[block][word%blockWords]
}

// Layout says where things stand in Memory. It mirrors struct
// classify_layout of bpf/classify.h, field by field.
type Layout struct {
	// Words is the length of Memory in 64-bit words.
	Words uint32
	// EntryMask is that of the entries of pages, which stand at 0. A mask is a power of
	// two less one, and none of what it is for stands further behind, so that the program
	// masks instead of comparing.
	EntryMask uint32
	// Records and Blocks are the word offsets of class records and of blocks, each with
	// a mask for words.
	Records, RecordMask, Blocks, BlockMask uint32
	// Stride is the length of a class record in words; 1 when the record is
	// the set of rules itself.
	Stride uint32
	// The root pages of ports and of IPv4 addresses, 0xffffffff when no rule
	// restricts them.
	SourcePorts, DestinationPorts, InnerPorts, Sources4, Destinations4 uint32
	// The numbers of IPv6 prefixes, 0 when no rule restricts the address.
	Sources6, Destinations6 uint32
}

// Layout returns where things stand in Memory.
func (t *Table) Layout() Layout {
	records := uint32(t.pages.count() * pageSize / 4)
	entryMask := mask(t.pages.count() * pageSize)
	blocks := records + uint32(len(t.record))
	recordMask, blockMask := mask(len(t.record)), mask(len(t.blocks)*blockWords)
	words := max((entryMask+1)/4, records+recordMask+uint32(t.stride))
	if !t.direct() {
		words = max(words, blocks+blockMask+1)
	}
	return Layout{
		Words:            words,
		EntryMask:        entryMask,
		Records:          records,
		RecordMask:       recordMask,
		Blocks:           blocks,
		BlockMask:        blockMask,
		Stride:           uint32(t.stride),
		SourcePorts:      t.sourcePorts,
		DestinationPorts: t.destinationPorts,
		InnerPorts:       t.innerPorts,
		Sources4:         t.sources4,
		Destinations4:    t.destinations4,
		Sources6:         uint32(len(t.sources6)),
		Destinations6:    uint32(len(t.destinations6)),
	}
}

// mask covers so many places.
func mask(places int) uint32 {
	return 1<<bits.Len(uint(max(places, 1)-1)) - 1
}

// appendWords appends numbers in the byte order of this machine.
func appendWords(out []byte, words []uint64) []byte {
	for _, w := range words {
		out = binary.NativeEndian.AppendUint64(out, w)
	}
	return out
}

// Memory returns pages, class records and blocks as the kernel program reads
// them: one value of 8-byte aligned words in the byte order of this machine.
func (t *Table) Memory() []byte {
	size := 8 * int(t.Layout().Words)
	out := make([]byte, 0, size)
	for i := range t.pages.values {
		for _, entry := range &t.pages.values[i] {
			out = binary.NativeEndian.AppendUint16(out, entry)
		}
	}
	out = appendWords(out, t.record)
	for i := range t.blocks {
		out = appendWords(out, t.blocks[i][:])
	}
	return out[:size] // what masks reach is 0
}

// Sources6 returns the prefixes of IPv6 source addresses with their classes,
// nothing when no rule restricts them.
func (t *Table) Sources6() []PrefixClass { return t.sources6 }

// Destinations6 is Sources6 for destination addresses.
func (t *Table) Destinations6() []PrefixClass { return t.destinations6 }
