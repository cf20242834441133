// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// blockWords is the number of words in a block, the unit in which bitmaps are
// shared between classes.
const blockWords = 8

// encode lays out the sets of rules that the classes stand for.
//
// Up to 64 rules the record of a class is the set itself, one word. With more
// rules the record is a summary word, whose bit w says that word w of the set
// is not empty, and then one 16-bit block number for each 8 words of the set.
// Equal blocks are stored once: sets differ in few places, and most of a set
// is empty.
func (t *Table) encode(sets []bitmap) error {
	if t.direct() {
		t.stride = 1
		for _, set := range sets {
			t.record = append(t.record, append(set, 0)[0])
		}
		return nil
	}
	blocksPerSet := (len(sets[0]) + blockWords - 1) / blockWords
	t.stride = 1 + (blocksPerSet+3)/4
	blocks := blockStore{numbers: map[[blockWords]uint64]int{}}
	for _, set := range sets {
		t.record = append(t.record, summary(set))
		t.record = append(t.record, blocks.addAll(set, t.stride-1)...)
	}
	if n := len(blocks.words) / blockWords; n > maxNumber+1 {
		return &LimitError{Limit: maxNumber + 1, Wanted: n, What: "different blocks of 512 rules that ports and addresses satisfy"}
	}
	t.blocks = padded(blocks.words)
	return nil
}

// direct reports whether a set of rules is one word.
func (t *Table) direct() bool {
	return len(t.rules) <= 64
}

func summary(set bitmap) uint64 {
	var s uint64
	for w, word := range set {
		if word != 0 {
			s |= 1 << w
		}
	}
	return s
}

// blockStore numbers the different blocks.
type blockStore struct {
	words   []uint64
	numbers map[[blockWords]uint64]int
}

// padded fills up to the next power of two.
func padded(words []uint64) []uint64 {
	n := 1 << bits.Len(uint(len(words)-1))
	return append(words, make([]uint64, n-len(words))...)
}

// addAll stores a set block by block and returns the block numbers as they
// lie in memory, in n words.
func (s *blockStore) addAll(set bitmap, n int) []uint64 {
	var numbers []byte
	for block := range slices.Chunk(set, blockWords) {
		numbers = binary.NativeEndian.AppendUint16(numbers, uint16(s.add(block)))
	}
	numbers = append(numbers, make([]byte, 8*n-len(numbers))...)
	out := make([]uint64, n)
	for i := range out {
		out[i] = binary.NativeEndian.Uint64(numbers[8*i:])
	}
	return out
}

func (s *blockStore) add(words []uint64) int {
	var block [blockWords]uint64
	copy(block[:], words)
	if n, ok := s.numbers[block]; ok {
		return n
	}
	n := len(s.words) / blockWords
	s.numbers[block] = n
	s.words = append(s.words, block[:]...)
	return n
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
	return t.blocks[block*blockWords+word%blockWords]
}

// Layout says where things stand in Memory. It mirrors struct
// classify_layout of bpf/classify.h, field by field.
type Layout struct {
	// Words is the length of Memory in 64-bit words.
	Words uint32
	// Records and Blocks are the word offsets of class records and of blocks;
	// pages stand at 0.
	Records, Blocks uint32
	// BlockMask is the length of the blocks in words, a power of two, less one:
	// the program masks with it instead of comparing. 0 without blocks.
	BlockMask uint32
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
	records := uint32(len(t.pages.entries) / 4)
	blocks := records + uint32(len(t.record))
	return Layout{
		Words:            blocks + uint32(len(t.blocks)),
		Records:          records,
		Blocks:           blocks,
		BlockMask:        uint32(max(len(t.blocks), 1) - 1),
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

// Memory returns pages, class records and blocks as the kernel program reads
// them: one value of 8-byte aligned words in the byte order of this machine.
func (t *Table) Memory() []byte {
	out := make([]byte, 0, 8*t.Layout().Words)
	for _, entry := range t.pages.entries {
		out = binary.NativeEndian.AppendUint16(out, entry)
	}
	out = append(out, words(t.record)...)
	return append(out, words(t.blocks)...)
}

// Sources6 returns the prefixes of IPv6 source addresses with their classes,
// nothing when no rule restricts them.
func (t *Table) Sources6() []PrefixClass { return t.sources6 }

// Destinations6 is Sources6 for destination addresses.
func (t *Table) Destinations6() []PrefixClass { return t.destinations6 }
