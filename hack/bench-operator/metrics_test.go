// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Four of ten requests between the scrapes took less than 5 ms, nine less than 10.
func TestQuantilesAreThoseBetweenScrapes(t *testing.T) {
	before := mustRead(t, `
# TYPE seconds histogram
seconds_bucket{le="0.005"} 100
seconds_bucket{le="0.01"} 100
seconds_bucket{le="+Inf"} 100
seconds_sum 1
seconds_count 100
`)
	after := mustRead(t, `
# TYPE seconds histogram
seconds_bucket{le="0.005"} 104
seconds_bucket{le="0.01"} 109
seconds_bucket{le="+Inf"} 110
seconds_sum 2
seconds_count 110
`)
	h := between(before, after, "seconds")
	for q, want := range map[float64]float64{0.2: 0.0025, 0.4: 0.005, 0.9: 0.01} {
		if got := h.quantile(q); math.Abs(got-want) > 1e-9 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := h.within(0.01); got != 0.9 {
		t.Errorf("%v are within 10 ms", got)
	}
}

func TestGaugesAreThoseWithTheLabel(t *testing.T) {
	all := mustRead(t, "# TYPE depth gauge\ndepth{name=\"a\"} 1\ndepth{name=\"b\"} 2\n")
	if gauge(all, "depth") != 3 || gauge(all, "depth", "name", "b") != 2 || gauge(all, "none") != 0 {
		t.Error(all)
	}
}

func mustRead(t *testing.T, text string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(strings.NewReader(strings.TrimLeft(text, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return all
}
