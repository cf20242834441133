// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// namedAtMost is how many pods, Services or workloads a message names.
	namedAtMost = 3
	// longestMessage bounds a condition's message, in bytes.
	longestMessage = 2048
	// longestDetail bounds what a pod or the API server says inside a message.
	longestDetail = 300
)

// sample keeps the first few of many texts, in ascending order, and counts all.
// Equal texts count each time but are kept once.
type sample struct {
	kept  []string
	total int
}

func (s *sample) add(text string) {
	s.total++
	i, found := slices.BinarySearch(s.kept, text)
	if found || i == namedAtMost {
		return
	}
	s.kept = slices.Insert(s.kept, i, text)
	s.kept = s.kept[:min(len(s.kept), namedAtMost)]
}

func (s *sample) merge(other sample) {
	total := s.total + other.total
	for _, text := range other.kept {
		s.add(text)
	}
	s.total = total
}

// String lists what is kept and says how many more there are.
func (s sample) String() string { return listed(s.kept, s.total) }

// listed joins the first few of total texts with commas.
func listed(texts []string, total int) string {
	shown := texts[:min(len(texts), namedAtMost)]
	list := strings.Join(shown, ", ")
	if more := total - len(shown); more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}

// counted writes "1 pod", "2 pods".
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// cut shortens a text to at most size bytes, at the edge of a character.
func cut(text string, size int) string {
	if len(text) <= size {
		return text
	}
	return strings.ToValidUTF8(text[:size-len("…")], "") + "…"
}

// oneLine replaces line ends and shortens what others wrote.
func oneLine(text string) string {
	return cut(strings.Join(strings.Fields(text), " "), longestDetail)
}

// sentences joins texts to a message.
func sentences(texts ...string) string {
	texts = slices.DeleteFunc(texts, func(s string) bool { return s == "" })
	return cut(strings.Join(texts, " "), longestMessage)
}
