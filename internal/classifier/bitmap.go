// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"encoding/binary"
	"math/bits"
)

// blockWords is the number of words in a block, the unit in which sets of rules
// are numbered, compared and shared.
const blockWords = 8

const (
	blockRules = 64 * blockWords
	maxBlocks  = MaxRules / blockRules
)

// block is a part of a set of rules: bit i%64 of word i/64 stands for its rule i.
type block [blockWords]uint64

// summary has bit w when word w is not empty.
func (b *block) summary() (s uint8) {
	for w, word := range b {
		if word != 0 {
			s |= 1 << w
		}
	}
	return s
}

// bitmap is a set of rules that changes rule by rule while a dimension is
// compiled, so that only the blocks which changed are numbered again.
type bitmap struct {
	blocks  []block
	numbers [maxBlocks]uint16 // of the blocks that are not stale
	stale   uint              // bit b: block b has changed
}

func newBitmap(rules int) *bitmap {
	n := blocksOf(rules)
	return &bitmap{blocks: make([]block, n), stale: 1<<n - 1}
}

// blocksOf is how many blocks a set of so many rules has, at least one.
func blocksOf(rules int) int {
	return max(1, (rules+blockRules-1)/blockRules)
}

// flip puts a rule into the set, or takes it out.
func (b *bitmap) flip(rule int) {
	n := rule / blockRules
	b.blocks[n][rule%blockRules/64] ^= 1 << (rule % 64)
	b.stale |= 1 << n
}

// classes numbers the different sets of rules of a table. Numbers are shared by
// all dimensions, so that equal sets are stored once.
type classes struct {
	// direct says that a set is one word, stride how many words a record has;
	// see encode.
	direct bool
	stride int

	record    []uint64
	sets      *interned[[maxBlocks]uint16] // by the numbers of their blocks
	ofSets    []uint16                     // the class of each
	blocks    *interned[block]
	summaries []uint8 // of the blocks
}

// newClasses makes room for a class for each rule, of which there mostly are few more.
func newClasses(rules int) *classes {
	c := &classes{direct: rules <= 64, stride: 1}
	if !c.direct {
		c.stride = 1 + (blocksOf(rules)+3)/4
	}
	expected := rules + kinds
	c.record = make([]uint64, 0, expected*c.stride)
	c.sets = newInterned(expected, hashOfSet)
	c.blocks = newInterned(expected, hashOfBlock)
	return c
}

func hashOfSet(blocks *[maxBlocks]uint16) uint64 {
	hash := uint64(firstHash)
	for _, number := range blocks {
		hash = mix(hash, uint64(number))
	}
	return hash
}

func hashOfBlock(b *block) uint64 {
	hash := uint64(firstHash)
	for _, word := range b {
		hash = mix(hash, word)
		hash ^= hash >> 32 // high bits of a word would stay there
	}
	return hash
}

// number returns the class of a set.
func (c *classes) number(b *bitmap) (uint16, error) {
	if err := c.numberBlocks(b); err != nil {
		return 0, err
	}
	set, added := c.sets.number(&b.numbers)
	if !added {
		return c.ofSets[set], nil
	}
	class, err := c.appendRecord(b)
	c.ofSets = append(c.ofSets, class)
	return class, err
}

// append gives a set the next number, even if it has one already.
func (c *classes) append(b *bitmap) (uint16, error) {
	if err := c.numberBlocks(b); err != nil {
		return 0, err
	}
	class, err := c.appendRecord(b)
	if _, added := c.sets.number(&b.numbers); added {
		c.ofSets = append(c.ofSets, class)
	}
	return class, err
}

func tooManySets(wanted int) error {
	return &LimitError{Limit: maxNumber + 1, Wanted: wanted, What: "different sets of rules that ports and addresses satisfy"}
}

// appendRecord makes the next class.
func (c *classes) appendRecord(b *bitmap) (uint16, error) {
	n := len(c.record) / c.stride
	if n > maxNumber {
		return 0, tooManySets(n + 1)
	}
	if c.direct {
		c.record = append(c.record, b.blocks[0][0])
		return uint16(n), nil
	}
	var summary uint64
	var numbers [2 * maxBlocks]byte
	for i := range b.blocks {
		summary |= uint64(c.summaries[b.numbers[i]]) << (i * blockWords)
		binary.NativeEndian.PutUint16(numbers[2*i:], b.numbers[i])
	}
	c.record = append(c.record, summary)
	for i := range c.stride - 1 {
		c.record = append(c.record, binary.NativeEndian.Uint64(numbers[8*i:]))
	}
	return uint16(n), nil
}

// numberBlocks gives equal blocks the same number.
func (c *classes) numberBlocks(b *bitmap) error {
	for ; b.stale != 0; b.stale &= b.stale - 1 {
		i := bits.TrailingZeros(b.stale)
		n, added := c.blocks.number(&b.blocks[i])
		if n > maxNumber {
			return c.tooManyBlocks(n + 1)
		}
		if added {
			c.summaries = append(c.summaries, b.blocks[i].summary())
		}
		b.numbers[i] = uint16(n)
	}
	return nil
}

func (c *classes) tooManyBlocks(wanted int) error {
	if c.direct { // then a block is a set
		return tooManySets(wanted)
	}
	return &LimitError{Limit: maxNumber + 1, Wanted: wanted, What: "different blocks of 512 rules that ports and addresses satisfy"}
}
