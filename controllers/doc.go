// SPDX-License-Identifier: Apache-2.0

// Package controllers is the thin shell around the pure packages: a reconciler
// that fetches, has rules compiled and a status made, and applies the two; and
// the webhook that injects pods.
//
// It writes rules ConfigMaps, the status of FunnelPolicies and Events, and
// nothing else.
package controllers
