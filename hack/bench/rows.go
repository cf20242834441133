// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// measure takes one sample of a lab, about d long. An error means that the mode
// does not work, and counts as 0.
type measure func(l *lab, d time.Duration) (float64, error)

// row is one kind of traffic, sampled in turn through every mode it applies to.
type row struct {
	name  string
	unit  string
	scale float64 // samples are divided by it to be in unit
	udp   bool    // else TCP
	txOff bool    // see openLab
	take  measure
}

const bitrate = "Gbit/s"

// rows lists all traffic. Sizes are payloads.
var rows = []row{
	{"UDP 64 B", "kpps", 1e3, true, false, datagrams(64, 1)},
	{"UDP 64 B, checksum by software", "kpps", 1e3, true, true, datagrams(64, 1)},
	{"UDP 64 B, 64 a call", "kpps", 1e3, true, false, datagrams(64, batch)},
	{"UDP 64 B, 64 a call, checksum by software", "kpps", 1e3, true, true, datagrams(64, batch)},
	{"UDP 1400 B", "kpps", 1e3, true, false, datagrams(1400, 1)},
	{"UDP 1400 B, checksum by software", "kpps", 1e3, true, true, datagrams(1400, 1)},
	{"UDP 1400 B, UDP_SEGMENT", "kpps", 1e3, true, false, segmented(1400)},
	{"TCP 1 stream up", bitrate, 1e9 / 8, false, false, bulk(1, upload)},
	{"TCP 1 stream down", bitrate, 1e9 / 8, false, false, bulk(1, download)},
	{"TCP 8 streams up", bitrate, 1e9 / 8, false, false, bulk(8, upload)},
	{"TCP 8 streams down", bitrate, 1e9 / 8, false, false, bulk(8, download)},
	{"TCP connections", "1000/s", 1e3, false, false, connections()},
}

// figures is a row as measured: samples by mode, in the order of modes.
type figures struct {
	row     row
	modes   []string
	samples map[string]samples
	failed  map[string]error // the last error of a mode
}

// sample measures a row: each round goes through all modes, so that samples with
// the same index were taken one after the other.
func (r row) sample(ctx context.Context, all []mode, opts options) (figures, error) {
	f := figures{row: r, samples: map[string]samples{}, failed: map[string]error{}}
	var open []*lab
	defer func() {
		for _, l := range open {
			if err := l.close(); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", err)
			}
		}
	}()
	for _, m := range all {
		if r.udp && !m.udp || !r.udp && !m.tcp {
			continue
		}
		l, err := openLab(m, r.txOff)
		if err != nil {
			return f, err
		}
		open, f.modes = append(open, l), append(f.modes, m.name)
	}
	for range opts.rounds {
		for i, l := range open {
			if ctx.Err() != nil {
				return f, ctx.Err()
			}
			f.take(f.modes[i], l, opts.duration)
		}
	}
	if err := f.failed[native]; err != nil {
		return f, fmt.Errorf("%s: %w", r.name, err)
	}
	return f, nil
}

func (f *figures) take(mode string, l *lab, d time.Duration) {
	value, err := f.row.take(l, d)
	if err != nil {
		f.failed[mode] = err
		value = 0
	}
	f.samples[mode] = append(f.samples[mode], value/f.row.scale)
}
