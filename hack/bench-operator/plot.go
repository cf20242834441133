// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"

	"github.com/sfunnel-io/funnel-operator/hack/benchpage"
)

// curve is one figure by the number of policies.
type curve struct {
	name string
	of   func(result) float64
}

// panel is a diagram with axes of its own.
type panel struct {
	unit   string
	curves []curve
}

var panels = []panel{
	{"seconds", []curve{
		{"cold start", func(r result) float64 { return r.Cold.Seconds }},
		{"all attached", func(r result) float64 { return r.Attach.Seconds }},
		{"restart", func(r result) float64 { return r.Restart.Seconds }},
	}},
	{"MiB", []curve{
		{"resident", func(r result) float64 { return r.Memory.Resident }},
		{"live heap", func(r result) float64 { return r.Memory.Live }},
		{"peak of a start", func(r result) float64 { return max(r.Cold.Peak, r.Restart.Peak) }},
	}},
	{"milliseconds", []curve{
		{"edit, median", func(r result) float64 { return 1000 * r.Edits.P50 }},
		{"edit, p99", func(r result) float64 { return 1000 * r.Edits.P99 }},
		{"webhook's own p99", func(r result) float64 {
			worst := 0.0
			for _, c := range r.Creates {
				worst = max(worst, c.OwnP99)
			}
			return worst
		}},
	}},
	{"calls", []curve{
		{"a policy, cold start", func(r result) float64 { return float64(r.Cold.Calls.total()) / float64(r.Policies) }},
		{"a policy, restart", func(r result) float64 { return float64(r.Restart.Calls.total()) / float64(r.Policies) }},
		{"a pod rolled", func(r result) float64 { return float64(r.Edits.Calls.total()) / float64(r.Edits.Rolled) }},
	}},
}

// plotGrowth draws the panels beside each other, both axes logarithmic: what grows
// linearly rises by the slope of the grey line.
func plotGrowth(results []result) string {
	const width, height = 360.0, 260.0
	d := benchpage.Drawing{Width: 2 * width, Height: 2 * height}
	for i, p := range panels {
		p.draw(&d, results, width*float64(i%2), height*float64(i/2), width, height)
	}
	return d.SVG()
}

func (p panel) draw(d *benchpage.Drawing, results []result, left, top, width, height float64) {
	left, top, width, height = left+60, top+20, width-75, height-105
	low, high := p.bounds(results)
	first, last := float64(results[0].Policies), float64(results[len(results)-1].Policies)*1.001
	x := func(policies float64) float64 { return left + width*math.Log(policies/first)/math.Log(last/first) }
	y := func(v float64) float64 { return top + height*(1-math.Log(v/low)/math.Log(high/low)) }
	for v := low; v <= high*1.001; v *= 10 {
		d.Line(left, y(v), left+width, y(v), "#dddddd")
		d.Text(left-6, y(v)+4, "end", fmt.Sprintf("%g", v))
	}
	d.Text(left, top-6, "middle", p.unit)
	if rise := low * last / first; rise <= high {
		d.Line(x(first), y(low), x(last), y(rise), "#bbbbbb")
	}
	for _, r := range results {
		d.Text(x(float64(r.Policies)), top+height+16, "middle", fmt.Sprint(r.Policies))
	}
	d.Text(left+width/2, top+height+32, "middle", "policies")
	for i, c := range p.curves {
		colour := benchpage.Colours[i+1]
		for at, r := range results {
			v := max(c.of(r), low)
			d.Rect(x(float64(r.Policies))-2, y(v)-2, 4, 4, colour)
			if at > 0 {
				before := results[at-1]
				d.Line(x(float64(before.Policies)), y(max(c.of(before), low)), x(float64(r.Policies)), y(v), colour)
			}
		}
		d.Rect(left, top+height+40+14*float64(i), 10, 10, colour)
		d.Text(left+16, top+height+49+14*float64(i), "start", c.name)
	}
}

// bounds are the powers of ten around all values.
func (p panel) bounds(results []result) (low, high float64) {
	low, high = math.Inf(1), 0
	for _, c := range p.curves {
		for _, r := range results {
			if v := c.of(r); v > 0 {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	if high == 0 {
		return 1, 10
	}
	low, high = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)))
	return low, max(high, 10*low)
}
