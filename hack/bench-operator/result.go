// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sfunnel-io/funnel-operator/hack/benchpage"
)

// size is how much there is in the cluster.
type size struct {
	Policies, Pods, OtherPods, OtherConfigMaps, PerNamespace int
}

// result is what was measured with one size.
type result struct {
	size
	Machine string
	Took    time.Duration

	Cold    began   // with nothing published yet
	Attach  phase   // from the first report of a pod until all are counted
	Others  phase   // while what concerns nobody is created
	Restart began   // with everything in place
	Memory  memory  // at the end of the steady window
	Before  memory  // the same without what concerns nobody
	Steady  phase   // nothing happens
	Edits   editing // pods roll, policies change
	Creates []creating
	Alone   alone
}

// alone is how long the writes of a cold start take without a manager.
type alone struct {
	Seconds float64
	Writes  int
}

func (a alone) String() string {
	if a.Writes == 0 {
		return "not measured"
	}
	return fmt.Sprintf("%.1f s (%d)", a.Seconds, a.Writes)
}

// phase is a time and what the manager asked of the API server in it.
type phase struct {
	Seconds float64
	Calls   calls
}

// began is how a manager started.
type began struct {
	phase
	Ready      float64 // seconds until the webhook answers
	Peak       float64 // resident set, MiB
	Reconciles float64 // of policies
	CPU        float64 // seconds of the manager
}

// calls counts by managertest.Call.What; those for the lease and reviews of whoever
// reads metrics are left out.
type calls map[string]int

func (c calls) total() int {
	sum := 0
	for _, n := range c {
		sum += n
	}
	return sum
}

// memory is in MiB. Live is what the last garbage collection left of the heap.
type memory struct{ Resident, Live float64 }

// editing is a phase in which pods roll. Latencies are in seconds from the edit's
// request to the ConfigMap's event; Own ones begin at the edit's own event. Refused
// are creations that the API server could not ask the webhook about, and that were
// tried again.
type editing struct {
	phase
	Asked                  float64 // pods a second
	Edits, Rolled, Refused int
	P50, P99, Max          float64
	OwnP50, OwnP99         float64
}

// reached is how many pods rolled in a second.
func (e editing) reached() float64 { return float64(e.Rolled) / e.Seconds }

// creating is a phase in which pods are created. Times are milliseconds: the
// webhook's own, and of the whole request. Calls are those that the manager made.
type creating struct {
	Calls                  calls
	Asked, Reached         float64 // a second
	Created, Missed        int
	Refused                int
	OwnP50, OwnP99         float64
	OwnIn10, P50, P99, CPU float64
}

// book is the results of one machine, kept beside the page so that sizes may be
// measured one at a time.
type book struct {
	dir, name string
	results   []result
}

func openBook(dir, name string) (*book, error) {
	b := &book{dir: dir, name: name}
	if dir == "" {
		return b, nil
	}
	text, err := os.ReadFile(b.file(".json"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return b, nil
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(text, &b.results); err != nil {
		return nil, fmt.Errorf("%s: %w", b.file(".json"), err)
	}
	return b, nil
}

func (b *book) file(ending string) string { return filepath.Join(b.dir, b.name+ending) }

// add replaces an earlier result of the same size.
func (b *book) add(r result) {
	b.results = slices.DeleteFunc(b.results, func(old result) bool { return old.size == r.size })
	b.results = append(b.results, r)
	slices.SortFunc(b.results, func(x, y result) int { return x.Policies - y.Policies })
}

// write puts the page, its picture and the results into the folder.
func (b *book) write() error {
	if b.dir == "" {
		return nil
	}
	results, err := json.MarshalIndent(b.results, "", " ")
	if err != nil {
		return err
	}
	files := map[string]string{".md": b.text(), ".svg": plotGrowth(b.results), ".json": string(results) + "\n"}
	for ending, content := range files {
		if err := os.WriteFile(b.file(ending), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// describe is the machine, for the page.
func describe() string { return benchpage.Describe().String() }
