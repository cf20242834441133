// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"

	"github.com/sfunnel-io/funnel-operator/hack/benchpage"
)

// plotTraffic draws one bar for each ratio to native, with its quartiles and, in
// red, its target.
func plotTraffic(all []figures) string {
	const left, full, bar = 420, 400, 16 // full is the length of ratio 1
	d := benchpage.Drawing{Width: left + 1.3*full, Height: 50}
	for _, f := range all {
		d.Height += float64(len(f.modes)-1)*bar + 8
	}
	for tenths := 0; tenths <= 12; tenths += 2 {
		x := left + full*float64(tenths)/10
		colour := "#dddddd"
		if tenths == 10 {
			colour = "black"
		}
		d.Line(x, 30, x, d.Height-10, colour)
		d.Text(x, 22, "middle", fmt.Sprintf("%.1f", float64(tenths)/10))
	}
	y := 36.0
	for _, f := range all {
		for _, mode := range f.modes {
			if mode == native {
				continue
			}
			ratio := f.ratio(mode)
			d.Text(left-8, y+bar-4, "end", f.row.name+", "+mode)
			d.Rect(left, y+2, full*min(ratio.Median(), 1.3), bar-4, colourOf(mode))
			if bound, ok := f.row.targets[mode]; ok {
				d.Line(left+full*bound, y, left+full*bound, y+bar, "red")
			}
			d.Line(left+full*ratio.Quantile(0.25), y+bar/2, left+full*ratio.Quantile(0.75), y+bar/2, "black")
			y += bar
		}
		y += 8
	}
	return d.SVG()
}

func colourOf(name string) string {
	for i, m := range modes("any") {
		if m.name == name {
			return benchpage.Colours[i%len(benchpage.Colours)]
		}
	}
	return benchpage.Colours[0]
}

// plotLookups draws nanoseconds over the number of rules, the latter in
// logarithmic steps.
func plotLookups(l *lookups) string {
	const left, top, width, height = 60, 20, 480, 220
	d := benchpage.Drawing{Width: left + width + 180, Height: top + height + 50}
	most := l.empty.Median()
	for _, count := range ruleCounts {
		for _, s := range l.cost[count] {
			most = max(most, s.Median())
		}
	}
	step := 10 * math.Ceil(most/50)
	x := func(rules int) float64 {
		return left + width*math.Log(float64(rules))/math.Log(float64(ruleCounts[len(ruleCounts)-1]))
	}
	y := func(ns float64) float64 { return top + height*(1-ns/(5*step)) }
	for i := range 6 {
		d.Line(left, y(step*float64(i)), left+width, y(step*float64(i)), "#dddddd")
		d.Text(left-6, y(step*float64(i))+4, "end", fmt.Sprintf("%.0f ns", step*float64(i)))
	}
	for _, count := range ruleCounts {
		d.Text(x(count), top+height+18, "middle", fmt.Sprint(count))
	}
	d.Text(left+width/2, top+height+38, "middle", "rules")
	d.Line(left, y(l.empty.Median()), left+width, y(l.empty.Median()), "black")
	d.Text(left+width+8, y(l.empty.Median())+4, "start", "empty program")
	for i, packet := range packets {
		colour := benchpage.Colours[i+1]
		for at := 1; at < len(ruleCounts); at++ {
			from, to := ruleCounts[at-1], ruleCounts[at]
			d.Line(x(from), y(l.cost[from][i].Median()), x(to), y(l.cost[to][i].Median()), colour)
		}
		d.Rect(left+width+8, top+18*float64(i), 10, 10, colour)
		d.Text(left+width+24, top+9+18*float64(i), "start", packet.name)
	}
	return d.SVG()
}
