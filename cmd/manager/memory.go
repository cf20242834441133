// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// memoryMax is where a container finds its memory limit (cgroup v2, memory.max).
const memoryMax = "/sys/fs/cgroup/memory.max"

// garbagePercent is how much garbage the heap may hold before it is collected, as a part
// of what is in use (GOGC). What is in use is the cache, which hardly changes: to look
// through it more often than by default costs little, and its size again would be resident.
const garbagePercent = 50

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
