// SPDX-License-Identifier: Apache-2.0

// Package policy compiles a FunnelPolicy and the Services that it names to the
// rule sets, the digest and the ConfigMap data that its pods get. It is pure:
// equal input gives equal bytes, whatever the order of maps.
package policy
