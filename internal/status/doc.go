// SPDX-License-Identifier: Apache-2.0

// Package status turns what was observed about a FunnelPolicy into its status:
// pod counts, Services, MTU, and the conditions with messages that say what is
// wrong and which command comes next.
//
// It is pure. Equal facts give equal text, so that a status can be compared
// with the one before and is written only when its meaning changed.
package status
