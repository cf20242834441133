// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/sfunnel-io/funnel-operator/hack/benchpage"
)

// measure takes one sample of a lab, about d long. An error means that the mode
// does not work, and counts as 0.
type measure func(l *lab, d time.Duration) (float64, error)

// row is one kind of traffic, sampled in turn through every mode it applies to.
type row struct {
	name    string
	kind    kind
	txOff   bool // see openLab
	take    measure
	targets targets // least ratio to native, by mode
	longer  int     // how many times as long as others a sample is; 0: once
}

// manyLonger is longer for traffic of several streams: how they share the processor differs
// from one moment to the next.
const manyLonger = 4 // as the page says

// rows lists all traffic. Sizes are payloads.
var rows = []row{
	{"UDP 64 B", udpKind, false, datagrams(64), targets{pushByTCP: 0.90, pushByUDP: 0.90}, 0},
	{"UDP 64 B, checksum by software", udpKind, true, datagrams(64), targets{pushByTCP: 0.90, pushByUDP: 0.90}, 0},
	{"UDP 1400 B", udpKind, false, datagrams(1400), nil, 0},
	{"UDP 1400 B, checksum by software", udpKind, true, datagrams(1400), nil, 0},
	{"UDP 1400 B, UDP_SEGMENT", udpKind, false, segmented(1400), nil, 0},
	{"TCP 1 stream up", bulkKind, false, bulk(1, upload), targets{inline: 0.95}, 0},
	{"TCP 1 stream down", bulkKind, false, bulk(1, download), targets{inline: 0.95}, 0},
	{"TCP 8 streams up", bulkKind, false, bulk(8, upload), targets{inline: 0.95}, manyLonger},
	{"TCP 8 streams down", bulkKind, false, bulk(8, download), targets{inline: 0.95}, manyLonger},
	{"TCP connections", callKind, false, connections(), targets{inline: 0.90}, 0},
}

type targets = map[string]float64

// unit of a kind's figures, and what a sample is divided by to be in it.
func (k kind) unit() (name string, scale float64) {
	switch k {
	case udpKind:
		return "kpps", 1e3
	case bulkKind:
		return "Gbit/s", 1e9 / 8
	}
	return "1000/s", 1e3
}

// figures is a row as measured: samples by mode, in the order of modes.
type figures struct {
	row     row
	modes   []string
	samples map[string]benchpage.Samples
	failed  map[string]error // the last error of a mode
}

// roundsPerLab is after how many rounds the labs are made anew: where a lab's
// memory happens to lie makes it faster or slower than its like.
const roundsPerLab = 8

// sample measures a row: each round goes through all modes, so that samples with
// the same index were taken shortly after each other.
func (r row) sample(ctx context.Context, all []mode, opts options) (figures, error) {
	f := figures{row: r, samples: map[string]benchpage.Samples{}, failed: map[string]error{}}
	var applying []mode
	for _, m := range all {
		if m.kinds&r.kind != 0 && (m.name == native || opts.modes.MatchString(m.name)) {
			applying, f.modes = append(applying, m), append(f.modes, m.name)
		}
	}
	for left := opts.rounds; left > 0; left -= roundsPerLab {
		if err := f.block(ctx, applying, min(left, roundsPerLab), opts.duration*time.Duration(max(r.longer, 1))); err != nil {
			return f, err
		}
	}
	if err := f.failed[native]; err != nil {
		return f, fmt.Errorf("%s: %w", r.name, err)
	}
	return f, nil
}

// block takes some rounds in labs of their own, each round in another order. The labs
// are made in any order too, so that no mode always has the first one.
func (f *figures) block(ctx context.Context, all []mode, rounds int, d time.Duration) error {
	open := make([]*lab, len(all))
	defer func() {
		for _, l := range open {
			if l == nil {
				continue
			}
			if err := l.close(); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", err)
			}
		}
	}()
	for _, i := range rand.Perm(len(all)) {
		l, err := openLab(all[i], f.row.txOff)
		if err != nil {
			return err
		}
		open[i] = l
	}
	for range rounds {
		for _, i := range rand.Perm(len(all)) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			f.take(all[i].name, open[i], d)
		}
	}
	return nil
}

func (f *figures) take(mode string, l *lab, d time.Duration) {
	value, err := f.row.take(l, d)
	if err != nil {
		f.failed[mode] = err
		value = 0
	}
	_, scale := f.row.kind.unit()
	f.samples[mode] = append(f.samples[mode], value/scale)
}

// ratio of a mode to native, one for each round.
func (f figures) ratio(mode string) benchpage.Samples { return f.samples[mode].Over(f.samples[native]) }
