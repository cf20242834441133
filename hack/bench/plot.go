// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// drawing is an SVG picture on white, in pixels from the top left corner.
type drawing struct {
	body          strings.Builder
	width, height float64
}

// colours tell modes apart, also for the colour-blind (Okabe and Ito's palette).
var colours = []string{"#999999", "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#0072b2", "#d55e00", "#f0e442", "#000000"}

func (d *drawing) rect(x, y, w, h float64, colour string) {
	fmt.Fprintf(&d.body, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", x, y, w, h, colour)
}

func (d *drawing) line(x1, y1, x2, y2 float64, colour string) {
	fmt.Fprintf(&d.body, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1, x2, y2, colour)
}

// text writes from x; anchor is start, middle or end.
func (d *drawing) text(x, y float64, anchor, s string) {
	fmt.Fprintf(&d.body, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, html.EscapeString(s))
}

func (d *drawing) svg() string {
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" font-family=\"sans-serif\" font-size=\"12\">\n"+
		"<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n%s</svg>\n", d.width, d.height, d.body.String())
}

// plotTraffic draws one bar for each ratio to native, with its quartiles and, in
// red, its target.
func plotTraffic(all []figures) string {
	const left, full, bar = 420, 400, 16 // full is the length of ratio 1
	d := drawing{width: left + 1.3*full, height: 50}
	for _, f := range all {
		d.height += float64(len(f.modes)-1)*bar + 8
	}
	for tenths := 0; tenths <= 12; tenths += 2 {
		x := left + full*float64(tenths)/10
		colour := "#dddddd"
		if tenths == 10 {
			colour = "black"
		}
		d.line(x, 30, x, d.height-10, colour)
		d.text(x, 22, "middle", fmt.Sprintf("%.1f", float64(tenths)/10))
	}
	y := 36.0
	for _, f := range all {
		for _, mode := range f.modes {
			if mode == native {
				continue
			}
			ratio := f.ratio(mode)
			d.text(left-8, y+bar-4, "end", f.row.name+", "+mode)
			d.rect(left, y+2, full*min(ratio.median(), 1.3), bar-4, colourOf(mode))
			if bound, ok := f.row.targets[mode]; ok {
				d.line(left+full*bound, y, left+full*bound, y+bar, "red")
			}
			d.line(left+full*ratio.quantile(0.25), y+bar/2, left+full*ratio.quantile(0.75), y+bar/2, "black")
			y += bar
		}
		y += 8
	}
	return d.svg()
}

func colourOf(name string) string {
	for i, m := range modes("any") {
		if m.name == name {
			return colours[i%len(colours)]
		}
	}
	return colours[0]
}

// plotLookups draws nanoseconds over the number of rules, the latter in
// logarithmic steps.
func plotLookups(l *lookups) string {
	const left, top, width, height = 60, 20, 480, 220
	d := drawing{width: left + width + 180, height: top + height + 50}
	most := l.empty.median()
	for _, count := range ruleCounts {
		for _, s := range l.cost[count] {
			most = max(most, s.median())
		}
	}
	step := 10 * math.Ceil(most/50)
	x := func(rules int) float64 {
		return left + width*math.Log(float64(rules))/math.Log(float64(ruleCounts[len(ruleCounts)-1]))
	}
	y := func(ns float64) float64 { return top + height*(1-ns/(5*step)) }
	for i := range 6 {
		d.line(left, y(step*float64(i)), left+width, y(step*float64(i)), "#dddddd")
		d.text(left-6, y(step*float64(i))+4, "end", fmt.Sprintf("%.0f ns", step*float64(i)))
	}
	for _, count := range ruleCounts {
		d.text(x(count), top+height+18, "middle", fmt.Sprint(count))
	}
	d.text(left+width/2, top+height+38, "middle", "rules")
	d.line(left, y(l.empty.median()), left+width, y(l.empty.median()), "black")
	d.text(left+width+8, y(l.empty.median())+4, "start", "empty program")
	for i, packet := range packets {
		colour := colours[i+1]
		for at := 1; at < len(ruleCounts); at++ {
			from, to := ruleCounts[at-1], ruleCounts[at]
			d.line(x(from), y(l.cost[from][i].median()), x(to), y(l.cost[to][i].median()), colour)
		}
		d.rect(left+width+8, top+18*float64(i), 10, 10, colour)
		d.text(left+width+24, top+9+18*float64(i), "start", packet.name)
	}
	return d.svg()
}
