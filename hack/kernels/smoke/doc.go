// SPDX-License-Identifier: Apache-2.0

// Package smoke holds the harness's own tests: that a kernel can do what the
// datapath builds on at all, before the datapath's tests say whether it does.
// They use no compiled C, so that they tell a broken kernel or harness from a
// broken datapath. TestFeatures logs the table of docs/compatibility.md.
package smoke
