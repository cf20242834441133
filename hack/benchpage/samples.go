// SPDX-License-Identifier: Apache-2.0

package benchpage

import (
	"math"
	"slices"
)

// Samples are measurements of one thing, in the order in which they were taken.
type Samples []float64

// Quantile interpolates between the two nearest samples; q is 0 to 1. Without
// samples it is not a number.
func (s Samples) Quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// Median is half way.
func (s Samples) Median() float64 { return s.Quantile(0.5) }

// Spread is the distance between the quartiles as a part of the median.
func (s Samples) Spread() float64 {
	return (s.Quantile(0.75) - s.Quantile(0.25)) / s.Median()
}

// Over divides Samples by those of the same round, so that a machine that
// changes its speed between rounds does not change the ratio.
func (s Samples) Over(base Samples) Samples {
	ratios := make(Samples, 0, len(s))
	for i := range min(len(s), len(base)) {
		ratios = append(ratios, s[i]/base[i])
	}
	return ratios
}

// Minus takes Samples of the same round away, as over divides by them.
func (s Samples) Minus(base Samples) Samples {
	differences := make(Samples, 0, len(s))
	for i := range min(len(s), len(base)) {
		differences = append(differences, s[i]-base[i])
	}
	return differences
}
