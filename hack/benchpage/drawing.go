// SPDX-License-Identifier: Apache-2.0

package benchpage

import (
	"fmt"
	"html"
	"strings"
)

// Drawing is an SVG picture on white, in pixels from the top left corner.
type Drawing struct {
	Width, Height float64

	body strings.Builder
}

// Colours tell lines and bars apart, also for the colour-blind (Okabe and Ito's palette).
var Colours = []string{"#999999", "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#0072b2", "#d55e00", "#f0e442", "#000000"}

// Rect fills one from its top left corner.
func (d *Drawing) Rect(x, y, w, h float64, colour string) {
	fmt.Fprintf(&d.body, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", x, y, w, h, colour)
}

// Line draws one.
func (d *Drawing) Line(x1, y1, x2, y2 float64, colour string) {
	fmt.Fprintf(&d.body, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1, x2, y2, colour)
}

// Text writes from x; anchor is start, middle or end.
func (d *Drawing) Text(x, y float64, anchor, s string) {
	fmt.Fprintf(&d.body, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, html.EscapeString(s))
}

// SVG is the picture.
func (d *Drawing) SVG() string {
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" font-family=\"sans-serif\" font-size=\"12\">\n"+
		"<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n%s</svg>\n", d.Width, d.Height, d.body.String())
}
