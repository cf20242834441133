// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"unicode/utf8"
)

// shortError is how many bytes of an error text stay when digests compete with
// it for room.
const shortError = 200

// Write puts the report into the file as one line of at most size bytes. The
// file is written in place, because the kubelet mounts it into the container.
func Write(path string, r Report, size int) error {
	return os.WriteFile(path, r.Marshal(size), 0o644)
}

// Marshal returns the report as one line of JSON without a line end, at most
// size bytes long: 0 or more than MaxSize stand for MaxSize, less than MinSize
// for MinSize.
//
// What does not fit is left out in this order: the kernel; interfaces, the
// roomiest first; the end of an error text longer than 200 bytes; digests,
// the last names first, and Omitted says how many; the rest of the error text.
func (r Report) Marshal(size int) []byte {
	r.Version = Version
	size = limit(size)
	for _, shrink := range []func(*Report, int) bool{
		dropKernel, dropInterface, shortenError, dropDigest, cutError,
	} {
		for {
			line := encode(r)
			if len(line) <= size {
				return line
			}
			if !shrink(&r, len(line)-size) {
				break
			}
		}
	}
	return encode(Report{Version: Version, Result: r.Result, KeepsFlows: r.KeepsFlows, Omitted: r.Omitted})
}

func limit(size int) int {
	if size <= 0 || size > MaxSize {
		return MaxSize
	}
	return max(size, MinSize)
}

// encode returns compact JSON in which <, > and & stand for themselves.
func encode(r Report) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		panic(err) // strings and numbers only: cannot happen
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// Each of these makes r shorter by one step and returns false when it has
// nothing left to take. excess is by how many bytes the line is too long.

func dropKernel(r *Report, _ int) bool {
	had := r.Kernel != ""
	r.Kernel = ""
	return had
}

func dropInterface(r *Report, _ int) bool {
	if len(r.Interfaces) == 0 {
		return false
	}
	roomiest := 0
	for i, f := range r.Interfaces {
		if f.Headroom-f.Overhead >= r.Interfaces[roomiest].Headroom-r.Interfaces[roomiest].Overhead {
			roomiest = i
		}
	}
	r.Interfaces = slices.Delete(slices.Clone(r.Interfaces), roomiest, roomiest+1)
	return true
}

func shortenError(r *Report, excess int) bool {
	return trimError(r, max(len(r.Error)-excess, shortError))
}

func cutError(r *Report, excess int) bool {
	return trimError(r, max(len(r.Error)-excess, 0))
}

// ellipsis ends an error text that was cut.
const ellipsis = "…"

// trimError cuts the error text to at most size bytes, at a character's edge.
func trimError(r *Report, size int) bool {
	if len(r.Error) <= size {
		return false
	}
	keep := max(size-len(ellipsis), 0)
	for keep > 0 && !utf8.RuneStart(r.Error[keep]) {
		keep--
	}
	if keep == 0 {
		r.Error = ""
		return true
	}
	r.Error = r.Error[:keep] + ellipsis
	return true
}

func dropDigest(r *Report, _ int) bool {
	if len(r.Digests) == 0 {
		return false
	}
	last := slices.Max(slices.Collect(maps.Keys(r.Digests)))
	r.Digests = maps.Clone(r.Digests)
	delete(r.Digests, last)
	r.Omitted++
	return true
}
