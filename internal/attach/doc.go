// SPDX-License-Identifier: Apache-2.0

// Package attach puts programs on the hooks of network interfaces, replaces
// them, lists them and takes them away.
//
// An attachment is a clsact filter of priority 1 with a fixed handle, in
// direct-action mode. Replacing one is a single netlink message, so that every
// packet meets the old program or the new one. The filter's name carries hook,
// version and digest: whose it is and whether it is current can be read by
// anyone who may list filters, without access to maps. Nothing is pinned; an
// attachment lives as long as its interface.
//
// Attach is all or nothing over several interfaces: whatever can fail for a
// reason of its own (devices, qdiscs, loading, filling maps) is done for all of
// them before the first program is put in place.
package attach
