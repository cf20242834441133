// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	dto "github.com/prometheus/client_model/go"
)

type families = map[string]*dto.MetricFamily

// gauge sums a family's samples that have the label, when one is given.
func gauge(all families, name string, label ...string) float64 {
	sum := 0.0
	for _, m := range all[name].GetMetric() {
		if len(label) == 2 && !labelled(m, label[0], label[1]) {
			continue
		}
		sum += m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue()
	}
	return sum
}

func labelled(m *dto.Metric, name, value string) bool {
	for _, pair := range m.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue() == value
		}
	}
	return false
}

// histogram is a cumulative one: upper bounds and how many samples are below.
type histogram struct {
	bounds []float64
	counts []float64
	total  float64
}

// between is the histogram of what was observed from one scrape to another.
func between(before, after families, name string) histogram {
	was, is := before[name].GetMetric(), after[name].GetMetric()
	if len(is) == 0 {
		return histogram{}
	}
	h := histogram{total: float64(is[0].GetHistogram().GetSampleCount())}
	for _, b := range is[0].GetHistogram().GetBucket() {
		h.bounds, h.counts = append(h.bounds, b.GetUpperBound()), append(h.counts, float64(b.GetCumulativeCount()))
	}
	if len(was) > 0 {
		h.total -= float64(was[0].GetHistogram().GetSampleCount())
		for i, b := range was[0].GetHistogram().GetBucket() {
			h.counts[i] -= float64(b.GetCumulativeCount())
		}
	}
	return h
}

// quantile interpolates within a bucket, as Prometheus does.
func (h histogram) quantile(q float64) float64 {
	rank, below, from := q*h.total, 0.0, 0.0
	for i, count := range h.counts {
		if count >= rank && count > below {
			return from + (h.bounds[i]-from)*(rank-below)/(count-below)
		}
		below, from = count, h.bounds[i]
	}
	return from
}

// within is the part of the samples below a bound of the histogram.
func (h histogram) within(bound float64) float64 {
	for i, b := range h.bounds {
		if b >= bound {
			return h.counts[i] / h.total
		}
	}
	return 1
}

func download(ctx context.Context, from *http.Client, url, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := from.Do(req)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	to, err := os.Create(file)
	if err != nil {
		return err
	}
	defer to.Close()
	_, err = io.Copy(to, response.Body)
	return err
}
