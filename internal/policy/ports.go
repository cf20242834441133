// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

const portHint = `write a port from 1 to 65535 ("443"), or a range of them with the lower port first ("8000-8100")`

// parsePortRange reads "443" or "8000-8100". The fault is what to write instead,
// empty when there is none.
func parsePortRange(text string) (r rules.PortRange, fault string) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	var ok1, ok2 bool
	r.First, ok1 = parsePort(first)
	r.Last, ok2 = parsePort(last)
	switch {
	case !ok1 || !ok2:
		return rules.PortRange{}, portHint
	case r.First > r.Last:
		return rules.PortRange{}, fmt.Sprintf(`the range is reversed: write "%d-%d"`, r.Last, r.First)
	}
	return r, ""
}

// parsePort reads decimal digits without sign or leading zero.
func parsePort(text string) (uint16, bool) {
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err == nil && n > 0 && text[0] != '0'
}
