// SPDX-License-Identifier: Apache-2.0

// Package manifest works on streams of YAML documents, as people keep them in
// files: it finds policies, Services, namespaces and pods in them, injects pods
// in place and finds faults, those that an API server would find among them. It
// reads no cluster.
package manifest
