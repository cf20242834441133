// SPDX-License-Identifier: Apache-2.0

package classifier

// interned numbers values in the order in which they come; equal ones have one number.
// It holds each of them once: the map is from hashes.
type interned[T comparable] struct {
	values  []T
	numbers map[uint64]int32
	hash    func(*T) uint64
}

// newInterned makes room for so many values, without being bound to that.
func newInterned[T comparable](values int, hash func(*T) uint64) *interned[T] {
	return &interned[T]{values: make([]T, 0, values), numbers: make(map[uint64]int32, values), hash: hash}
}

// number returns the number of a value, and whether it is a new one.
func (n *interned[T]) number(v *T) (number int, added bool) {
	hash := n.hash(v)
	for ; ; hash++ {
		number, ok := n.numbers[hash]
		if !ok {
			break
		}
		if n.values[number] == *v {
			return int(number), false
		}
	}
	number = len(n.values)
	n.numbers[hash] = int32(number)
	n.values = append(n.values, *v)
	return number, true
}

// mix is a step of FNV-1a, by words instead of octets.
func mix(hash, word uint64) uint64 { return (hash ^ word) * 1099511628211 }

const firstHash = 14695981039346656037
