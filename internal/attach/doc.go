// SPDX-License-Identifier: Apache-2.0

// Package attach puts programs on the hooks of network interfaces, replaces
// them, lists them and takes them away.
//
// A program is attached by tcx, first in its chain, or where the kernel has none
// by a clsact filter of priority 1 with a fixed handle, in direct-action mode.
// Either way every packet meets the old program or the new one while one is
// replaced. A name carries hook, version and digest: whose a program is and whether
// it is current can be read with NET_ADMIN alone, without access to maps. Nothing is
// pinned; an attachment lives as long as its interface.
//
// Attach is all or nothing over several interfaces: whatever can fail for a
// reason of its own (devices, qdiscs, loading, filling maps) is done for all of
// them before the first program is put in place.
package attach
