// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// Whatever is read comes out as it was, and what is injected can be read again
// and is injected already.
func FuzzStreams(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "../inject/testdata/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			f.Add(string(mustFile(f, file)))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse("x.yaml", text)
		if err != nil {
			return
		}
		if got := s.String(); got != text {
			t.Fatalf("%q became %q", text, got)
		}
		Read([]*Stream{s}, "default").Lint()
		every := func(*corev1.Pod) []string { return []string{"web"} }
		if err := Inject([]*Stream{s}, every, options); err != nil {
			return
		}
		once := s.String()
		again, err := Parse("x.yaml", once)
		if err == nil {
			err = Inject([]*Stream{again}, every, options)
		}
		if err != nil {
			t.Fatalf("%q became %q: %v", text, once, err)
		}
	})
}
