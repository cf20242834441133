// SPDX-License-Identifier: Apache-2.0

// Package inject is what injection adds to a pod: the init container that
// attaches the rules, the volume that brings them, and a label. It is pure and
// knows nothing of admission webhooks, so that whatever else changes pod
// manifests makes the same pod.
package inject
