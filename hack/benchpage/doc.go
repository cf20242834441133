// SPDX-License-Identifier: Apache-2.0

// Package benchpage is what the pages of docs/benchmarks share, whoever measured:
// the machine, samples and their quantiles, targets, pictures.
package benchpage
