// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sfunnel-io/funnel-operator/hack/benchpage"
)

// page is one run: what was measured, where, and its text.
type page struct {
	machine benchpage.Machine
	name    string
	options options
	took    time.Duration
	traffic []figures
	streams []programCost
	calls   []programCost
	lookups *lookups
	attach  []attachCost
	loading []*loading
	many    []*manyResult
}

// section is a part of the page besides traffic; -only chooses it by its name.
type section struct {
	name    string
	measure func(p *page, ctx context.Context) error
}

var sections = []section{
	{"programs", func(p *page, ctx context.Context) (err error) {
		p.streams, p.calls, err = measurePrograms(ctx, 4*p.options.duration)
		return err
	}},
	{"rule lookup", func(p *page, ctx context.Context) (err error) {
		p.lookups, err = measureLookups(ctx, p.options.rounds)
		return err
	}},
	{"attach", func(p *page, ctx context.Context) (err error) {
		if p.attach, err = measureAttach(ctx, p.options.rounds); err != nil {
			return err
		}
		p.loading, err = measureLoading(p.options.rounds)
		return err
	}},
	{"many connections", func(p *page, ctx context.Context) (err error) {
		p.many, err = measureMany(ctx)
		return err
	}},
}

// measure takes all samples, and says what it is at.
func (p *page) measure(ctx context.Context) error {
	begin := time.Now()
	for _, r := range rows {
		if !p.options.only.MatchString(r.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, r.name, "…")
		f, err := r.sample(ctx, modes(p.options.peer), p.options)
		if err != nil {
			return err
		}
		p.traffic = append(p.traffic, f)
	}
	for _, s := range sections {
		if !p.options.only.MatchString(s.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, s.name, "…")
		if err := s.measure(p, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	p.took = time.Since(begin)
	return nil
}

// write prints the page and, unless told otherwise, puts it and its plots into
// the folder.
func (p *page) write() error {
	text := p.text()
	fmt.Print(text)
	if p.options.out == "" {
		return nil
	}
	if err := os.MkdirAll(p.options.out, 0o755); err != nil {
		return err
	}
	files := map[string]string{p.name + ".md": text}
	if len(p.traffic) > 0 {
		files[p.name+"-traffic.svg"] = plotTraffic(p.traffic)
	}
	if p.lookups != nil {
		files[p.name+"-lookup.svg"] = plotLookups(p.lookups)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(p.options.out, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (p *page) text() string {
	var text strings.Builder
	fmt.Fprintf(&text, "# Benchmark: %s\n\n%s.\n", p.name, p.machine)
	fmt.Fprintf(&text, "Written by `make bench`: %d rounds, %s a sample. Figures are medians; the spread is the\n"+
		"distance between the quartiles as a part of the median. It took %s.\n", p.options.rounds, p.options.duration, p.took.Round(time.Second))
	benchpage.WriteGoals(&text, p.goals())
	if len(p.traffic) > 0 {
		p.trafficText(&text)
	}
	if len(p.streams) > 0 {
		streamPrograms(&text, p.streams)
		callPrograms(&text, p.calls)
	}
	if p.lookups != nil {
		p.lookupText(&text)
	}
	if len(p.attach) > 0 {
		attachText(&text, p.attach)
		loadingText(&text, p.loading)
	}
	if len(p.many) > 0 {
		describeMany(&text, p.many)
	}
	return text.String()
}

const trafficIntro = `
## Traffic

Client, router and server are network namespaces joined by veth; the router translates the
service's address (conntrack, DNAT) for every mode alike. All threads of a sample run on one CPU, ahead of what else runs
there. A round goes through all modes of a row in random order; ratio and added time are medians over rounds,
in brackets the ratio's quartiles. "native again" and "four empty programs" show what such a comparison can tell apart.
Modes that add bytes have a smaller route MTU, others don't.

- UDP is sent and received by one thread in turn, a call for each datagram at each end: its cost is the whole way from
  socket to socket. Rows with checksums by software have the client's offload off; packets then reach the program
  as forwarded ones do. In the others the program completes the checksum first (before Linux 6.2: the segmenting
  device does). UDP_SEGMENT hands the kernel 40 datagrams at once, which the segmenting device takes apart.
- A TCP sample is of fresh connections (congestion control cubic), which write and read 128 KB at once; what they move
  at first, for a quarter of the sample's length, is not counted. Up is client to server. Samples of 8 streams, which
  share the processor in another way each time, are four times as long as others.
- A TCP connection of the last row is connect, accept, an octet each way and close, one after the other. Inline has tables of
  the default size there.

![Ratio to native](%s-traffic.svg)

| traffic | mode | median | spread | ratio to native | target | added |
|---|---|---:|---:|---:|---|---:|
`

func (p *page) trafficText(text *strings.Builder) {
	fmt.Fprintf(text, trafficIntro, p.name)
	for _, f := range p.traffic {
		unit, _ := f.row.kind.unit()
		for _, mode := range f.modes {
			s, ratio := f.samples[mode], f.ratio(mode)
			fmt.Fprintf(text, "| %s | %s | %.4g %s | %.1f %% | %.3f (%.3f-%.3f) | %s | %s |\n", f.row.name, mode,
				s.Median(), unit, 100*s.Spread(), ratio.Median(), ratio.Quantile(0.25), ratio.Quantile(0.75),
				f.target(mode), f.added(mode))
		}
	}
	for _, f := range p.traffic {
		for mode, err := range f.failed {
			fmt.Fprintf(text, "\n%s, %s: %v.\n", f.row.name, mode, err)
		}
	}
}

// target says what the ratio is to be, if there is such a target.
func (f figures) target(mode string) string {
	if g, ok := f.goal(mode); ok {
		return g.String()
	}
	return ""
}

// added is the time that the mode adds to a datagram or connection; streams have
// none.
func (f figures) added(mode string) string {
	if mode == native || f.row.kind == bulkKind {
		return ""
	}
	_, scale := f.row.kind.unit()
	var times benchpage.Samples
	for i, base := range f.samples[native] {
		times = append(times, 1e9/scale*(1/f.samples[mode][i]-1/base))
	}
	if ns := times.Median(); !math.IsInf(ns, 0) {
		return fmt.Sprintf("%.0f ns", ns)
	}
	return "nothing arrives"
}

func (p *page) lookupText(text *strings.Builder) {
	fmt.Fprintf(text, "\n## Rule lookup\n\nNanoseconds a packet by BPF_PROG_TEST_RUN, %d runs a sample; an empty program: %.0f ns (included).\n",
		runs, p.lookups.empty.Median())
	fmt.Fprintf(text, "Every rule has an address and a port of its own. The last lines are the ratio to 5 rules and the\n"+
		"difference to the empty program.\n\n")
	fmt.Fprintf(text, "![Lookup by number of rules](%s-lookup.svg)\n\n| rules |", p.name)
	for _, packet := range packets {
		fmt.Fprintf(text, " %s | spread |", packet.name)
	}
	fmt.Fprintf(text, "\n|---:|%s\n", strings.Repeat("---:|---:|", len(packets)))
	for _, count := range ruleCounts {
		fmt.Fprintf(text, "| %d |", count)
		for _, s := range p.lookups.cost[count] {
			fmt.Fprintf(text, " %.0f | %.1f %% |", s.Median(), 100*s.Spread())
		}
		fmt.Fprintln(text)
	}
	most := ruleCounts[len(ruleCounts)-1]
	fmt.Fprintf(text, "| %d / 5 |", most)
	for i := range packets {
		fmt.Fprintf(text, " %.2f | |", p.lookups.cost[most][i].Over(p.lookups.cost[5][i]).Median())
	}
	fmt.Fprintf(text, "\n| %d - empty |", most)
	for i := range packets {
		fmt.Fprintf(text, " %.0f ns | |", p.lookups.cost[most][i].Minus(p.lookups.empty).Median())
	}
	fmt.Fprintln(text)
	for _, g := range p.lookups.goals() {
		fmt.Fprintf(text, "\nTarget: %s %s.\n", g.What, g)
	}
}
