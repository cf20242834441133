// SPDX-License-Identifier: Apache-2.0

package benchpage

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is where and when figures were taken.
type Machine struct {
	cpu, kernel, load, commit string
	cpus                      int
	date                      time.Time
}

// Describe is this machine, now, with the commit that is checked out in the working
// directory.
func Describe() Machine {
	return Machine{
		cpu: cpuModel(), cpus: runtime.NumCPU(), kernel: kernelRelease(),
		load: loadAverage(), commit: headCommit(), date: time.Now().UTC(),
	}
}

// String is a line for the page.
func (m Machine) String() string {
	return fmt.Sprintf("%d CPUs %s, Linux %s, %s, %s, commit %s; load average before it: %s",
		m.cpus, m.cpu, m.kernel, runtime.Version(), m.date.Format(time.DateOnly), m.commit, m.load)
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	return modelIn(string(text))
}

// modelIn is what /proc/cpuinfo calls the processor. Some hypervisors hide which one of its
// make it is: its family and model tell then.
func modelIn(cpuinfo string) string {
	field := func(name string) string {
		match := regexp.MustCompile(`(?m)^` + name + `\s*:\s*(.+)$`).FindStringSubmatch(cpuinfo)
		if match == nil {
			return ""
		}
		return match[1]
	}
	name, family := field("model name"), field("cpu family")
	switch {
	case name == "":
		return runtime.GOARCH
	case strings.ContainsAny(name, "0123456789") || family == "":
		return name
	}
	return fmt.Sprintf("%s family %s model %s", name, family, field("model"))
}

func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Release[:])
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// headCommit names the commit, with a plus when files differ from it.
func headCommit() string {
	text, err := exec.Command("git", "describe", "--always", "--dirty=+").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

var (
	brand    = regexp.MustCompile(`\((R|TM|r|tm)\)|@.*$|\b(CPU|Processor)\b`)
	notAWord = regexp.MustCompile(`[^a-z0-9]+`)
)

// DefaultName makes a file name of processor and number of CPUs.
func DefaultName() string {
	words := notAWord.ReplaceAllString(strings.ToLower(brand.ReplaceAllString(cpuModel(), " ")), "-")
	return fmt.Sprintf("%s-%dcpu", strings.Trim(words, "-"), runtime.NumCPU())
}
