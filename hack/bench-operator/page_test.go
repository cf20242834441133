// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sfunnel-io/funnel-operator/internal/golden"
)

// Goals of a rate that was not reached say which one was, and that it was not.
func TestGoalsNameTheRateThatWasReached(t *testing.T) {
	r := result{
		size:  size{Policies: 1000},
		Edits: editing{phase: phase{Seconds: 10}, Asked: 100, Rolled: 614},
		Creates: []creating{
			{Asked: 30, Reached: 30.03},
			{Asked: 100, Reached: 99.8},
			{Asked: 500, Reached: 82.6},
		},
	}
	var got []string
	for _, g := range r.goals() {
		if strings.Contains(g.What, "/s") || g.Unit == "/s" {
			got = append(got, fmt.Sprintf("%s: %.3g%s %s", strings.TrimPrefix(g.What, "1000 policies: "), g.Measured, g.Unit, g))
		}
	}
	want := []string{
		"pods that roll while policies are edited: 61/s ≥ 100/s: not met",
		"edit to ConfigMap, median, while pods roll at 61/s of 100/s asked: 0 s ≤ 0.3 s: met",
		"edit to ConfigMap, p99, while pods roll at 61/s of 100/s asked: 0 s ≤ 1 s: met",
		"edit to ConfigMap after the edit's own event, median, while pods roll at 61/s of 100/s asked: 0 s ≤ 0.3 s: met",
		"edit to ConfigMap after the edit's own event, p99, while pods roll at 61/s of 100/s asked: 0 s ≤ 1 s: met",
		"pods created: 30/s ≥ 30/s: met", "webhook's own p99 at 30/s: 0 ms ≤ 10 ms: met", "pods missed at 30/s: 0 ≤ 0: met",
		"pods created: 100/s ≥ 100/s: met", "webhook's own p99 at 100/s: 0 ms ≤ 10 ms: met", "pods missed at 100/s: 0 ≤ 0: met",
		"pods created: 83/s ≥ 500/s: not met", "webhook's own p99 at 83/s of 500/s asked: 0 ms ≤ 10 ms: met", "pods missed at 83/s of 500/s asked: 0 ≤ 0: met",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The pages and pictures of docs/benchmarks are what this command makes of the results beside them.
func TestPagesAreOfTheirResults(t *testing.T) {
	folder := filepath.Join("..", "..", "docs", "benchmarks")
	all, err := filepath.Glob(filepath.Join(folder, "*-operator.json"))
	if err != nil || len(all) == 0 {
		t.Fatalf("%v, %v", all, err)
	}
	for _, file := range all {
		b, err := openBook(folder, strings.TrimSuffix(filepath.Base(file), ".json"))
		if err != nil {
			t.Fatal(err)
		}
		golden.Compare(t, b.file(".md"), b.text())
		golden.Compare(t, b.file(".svg"), plotGrowth(b.results))
	}
}
