// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
)

// samples are measurements of one thing, in the order in which they were taken.
type samples []float64

// quantile interpolates between the two nearest samples; q is 0 to 1. Without
// samples it is not a number.
func (s samples) quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

func (s samples) median() float64 { return s.quantile(0.5) }

// spread is the distance between the quartiles as a part of the median.
func (s samples) spread() float64 {
	return (s.quantile(0.75) - s.quantile(0.25)) / s.median()
}

// over divides samples by those of the same round, so that a machine that
// changes its speed between rounds does not change the ratio.
func (s samples) over(base samples) samples {
	ratios := make(samples, 0, len(s))
	for i := range min(len(s), len(base)) {
		ratios = append(ratios, s[i]/base[i])
	}
	return ratios
}

// minus takes samples of the same round away, as over divides by them.
func (s samples) minus(base samples) samples {
	differences := make(samples, 0, len(s))
	for i := range min(len(s), len(base)) {
		differences = append(differences, s[i]-base[i])
	}
	return differences
}
