// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"encoding/binary"
	"slices"
)

// bitmap is a set of rules: bit i%64 of word i/64 stands for rule i.
type bitmap []uint64

func newBitmap(rules int) bitmap {
	return make(bitmap, (rules+63)/64)
}

func (b bitmap) set(rule int, on bool) {
	bit := uint64(1) << (rule % 64)
	if on {
		b[rule/64] |= bit
	} else {
		b[rule/64] &^= bit
	}
}

// classes numbers the different bitmaps of a table. Numbers are shared by all
// dimensions, so that equal sets are stored once.
type classes struct {
	bitmaps []bitmap
	numbers map[string]int
}

// number returns the class of a bitmap; the caller may go on changing b.
func (c *classes) number(b bitmap) int {
	key := string(words(b))
	if n, ok := c.numbers[key]; ok {
		return n
	}
	return c.append(b, key)
}

// append gives a bitmap the next number, even if it has one already.
func (c *classes) append(b bitmap, key string) int {
	n := len(c.bitmaps)
	c.bitmaps = append(c.bitmaps, slices.Clone(b))
	c.numbers[key] = n
	return n
}

// words is the bitmap as bytes in the byte order of this machine.
func words(b []uint64) []byte {
	out := make([]byte, 0, 8*len(b))
	for _, w := range b {
		out = binary.NativeEndian.AppendUint64(out, w)
	}
	return out
}
