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

// limitMemory makes the garbage collector work harder before the container's limit is
// reached: with thousands of policies a start would double the heap first and be killed.
// The variable GOMEMLIMIT wins.
func limitMemory(getenv func(string) string) {
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
