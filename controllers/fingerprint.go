// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/binary"
	"hash/maphash"
)

// fingerprint stands, in 8 bytes, for texts that are only ever compared; 0 is that of none.
type fingerprint uint64

// fingerprintSeed differs in each process, so that nobody can write texts that look alike.
var fingerprintSeed = maphash.MakeSeed()

// fingerprintOf is equal for equal texts, and different for others but once in 2^64 times.
func fingerprintOf(texts ...string) fingerprint {
	if len(texts) == 1 && texts[0] == "" {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(fingerprintSeed)
	for _, text := range texts {
		maphash.WriteComparable(&h, len(text))
		h.WriteString(text)
	}
	return max(fingerprint(h.Sum64()), 1)
}

// text is the fingerprint as a string of 8 bytes.
func (f fingerprint) text() string { return string(binary.BigEndian.AppendUint64(nil, uint64(f))) }

// fingerprintFrom is the fingerprint that has this text.
func fingerprintFrom(text string) fingerprint {
	return fingerprint(binary.BigEndian.Uint64([]byte(text)))
}
