// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// page is one run: what was measured, where, and its text.
type page struct {
	machine machine
	name    string
	options options
	traffic []figures
	lookups *lookups
	attach  []attachCost
}

// The two sections that are no traffic; -only chooses them by these names.
const (
	lookupSection = "rule lookup"
	attachSection = "attach"
)

// measure takes all samples, and says what it is at.
func (p *page) measure(ctx context.Context) error {
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
	if p.options.only.MatchString(lookupSection) {
		fmt.Fprintln(os.Stderr, lookupSection, "…")
		l, err := measureLookups(ctx, p.options.rounds)
		if err != nil {
			return err
		}
		p.lookups = &l
	}
	if p.options.only.MatchString(attachSection) {
		fmt.Fprintln(os.Stderr, attachSection, "…")
		costs, err := measureAttach(ctx, p.options.rounds)
		if err != nil {
			return err
		}
		p.attach = costs
	}
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
		files[p.name+"-lookup.svg"] = plotLookups(*p.lookups)
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
		"distance between the quartiles as a part of the median.\n", p.options.rounds, p.options.duration)
	if len(p.traffic) > 0 {
		p.trafficText(&text)
	}
	if p.lookups != nil {
		p.lookupText(&text)
	}
	if len(p.attach) > 0 {
		attachText(&text, p.attach)
	}
	return text.String()
}

const trafficIntro = `
## Traffic

Client, router and server are network namespaces joined by veth; the router translates the
service's address (conntrack, DNAT). Both ends run on one CPU. Ratio and added time are medians over
rounds in which all modes of a row were measured one after the other; in brackets the ratio's quartiles.
UDP is sent and received by one thread in turn, with one system call a datagram at each end unless the row
says otherwise: a datagram's cost is the whole way from socket to socket. Rows with checksums by software
have the client's offload off; packets then reach the program as forwarded ones do, and are pushed
directly. The others pass the segmenting device where the outer header needs a checksum.

![Ratio to native](%s-traffic.svg)

| traffic | mode | median | spread | ratio to native | added |
|---|---|---:|---:|---:|---:|
`

func (p *page) trafficText(text *strings.Builder) {
	fmt.Fprintf(text, trafficIntro, p.name)
	for _, f := range p.traffic {
		for _, mode := range f.modes {
			s, base := f.samples[mode], f.samples[native]
			ratio := s.over(base)
			fmt.Fprintf(text, "| %s | %s | %.4g %s | %.1f %% | %.3f (%.3f-%.3f) | %s |\n", f.row.name, mode,
				s.median(), f.row.unit, 100*s.spread(), ratio.median(), ratio.quantile(0.25), ratio.quantile(0.75),
				f.added(mode))
		}
	}
	for _, f := range p.traffic {
		for mode, err := range f.failed {
			fmt.Fprintf(text, "\n%s, %s: %v.\n", f.row.name, mode, err)
		}
	}
}

// added is the time that the mode adds to a datagram or connection; streams have
// none.
func (f figures) added(mode string) string {
	if mode == native || f.row.unit == bitrate {
		return ""
	}
	var times samples
	for i, base := range f.samples[native] {
		times = append(times, 1e9/f.row.scale*(1/f.samples[mode][i]-1/base))
	}
	if ns := times.median(); !math.IsInf(ns, 0) {
		return fmt.Sprintf("%.0f ns", ns)
	}
	return "nothing arrives"
}

func (p *page) lookupText(text *strings.Builder) {
	fmt.Fprintf(text, "\n## Rule lookup\n\nNanoseconds a packet by BPF_PROG_TEST_RUN, %d runs a sample; an empty program: %.0f ns (included).\n",
		runs, p.lookups.empty.median())
	fmt.Fprintf(text, "Every rule has an address and a port of its own. The last line is the ratio to 5 rules.\n\n")
	fmt.Fprintf(text, "![Lookup by number of rules](%s-lookup.svg)\n\n| rules |", p.name)
	for _, packet := range packets {
		fmt.Fprintf(text, " %s | spread |", packet.name)
	}
	fmt.Fprintf(text, "\n|---:|%s\n", strings.Repeat("---:|---:|", len(packets)))
	for _, count := range ruleCounts {
		fmt.Fprintf(text, "| %d |", count)
		for _, s := range p.lookups.cost[count] {
			fmt.Fprintf(text, " %.0f | %.1f %% |", s.median(), 100*s.spread())
		}
		fmt.Fprintln(text)
	}
	most := ruleCounts[len(ruleCounts)-1]
	fmt.Fprintf(text, "| %d / 5 |", most)
	for i := range packets {
		fmt.Fprintf(text, " %.2f | |", p.lookups.cost[most][i].over(p.lookups.cost[5][i]).median())
	}
	fmt.Fprintln(text)
}
