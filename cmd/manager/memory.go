// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// memoryMax is where a container finds its memory limit (cgroup v2, memory.max).
const memoryMax = "/sys/fs/cgroup/memory.max"

// garbagePercent is how much garbage the heap may hold before it is collected, as a part
// of what is in use (GOGC). What is in use is the cache, which hardly changes: to look
// through it more often than by default costs little, and its size again would be resident.
const garbagePercent = 40

// limitMemory makes the garbage collector work harder than by default, and all the more
// before the container's limit is reached: with thousands of policies a start would
// double the heap first and be killed. The variables GOGC and GOMEMLIMIT win.
func limitMemory(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	text, err := os.ReadFile(memoryMax)
	if goal, ok := memoryGoal(string(text)); ok && err == nil && getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(goal)
	}
}

// memoryGoal is what the runtime should stay below, in bytes: four fifths of the limit. The
// program's own pages and stacks of the kernel's take the rest. Without a limit there is none.
func memoryGoal(limit string) (bytes int64, ok bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(limit), 10, 64)
	return n / 5 * 4, err == nil && n > 0
}

// giveBackEvery is how often is looked whether the manager is at rest.
const giveBackEvery = time.Minute

// giveBack gives the operating system what a manager at rest holds without using it: room for
// garbage, half as much as its cache with thousands of policies. A start or a rollout takes it again.
type giveBack struct{}

// NeedLeaderElection is false: replicas that stand by rest as well.
func (giveBack) NeedLeaderElection() bool { return false }

// Start goes on until the context ends.
func (giveBack) Start(ctx context.Context) error {
	ticker := time.NewTicker(giveBackEvery)
	defer ticker.Stop()
	left := uint64(0)
	for before := readHeap(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := readHeap()
		if now.rests(before) && now.spare(left) {
			debug.FreeOSMemory() // looks through all that is in use, so only then
			left = readHeap().resident
		}
		before = now
	}
}

// heap is what the runtime says of it, in bytes.
type heap struct {
	live, resident uint64 // after the last collection; with garbage, and what is free and not given back
	allocated      uint64 // ever
}

func readHeap() heap {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	h := heap{live: samples[0].Value.Uint64(), allocated: samples[1].Value.Uint64()}
	for _, part := range samples[2:] {
		h.resident += part.Value.Uint64()
	}
	return h
}

// rests reports whether hardly anything was allocated since: an eighth of what is in use.
func (h heap) rests(before heap) bool { return h.allocated-before.allocated < h.live/8 }

// spare reports whether more than a sixteenth could be given back; left is what was resident
// after that was done last, when objects here and there may have kept more than the live ones.
func (h heap) spare(left uint64) bool {
	least := max(h.live, left)
	return h.resident > least+least/16
}
