// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/sfunnel-io/funnel-operator/hack/benchpage"
)

// attachCost is the attacher's whole process, both directions with the same
// number of rules each.
type attachCost struct {
	rules   int
	wall    benchpage.Samples // milliseconds
	cpu     benchpage.Samples // of them and of all threads
	memory  benchpage.Samples // peak resident set, MiB
	binary  int64             // octets
	replace bool              // whether ours was attached already
}

// measureAttach builds the attacher and runs it for each rule count, in turn:
// onto a device without anything of ours, and again in place of it.
func measureAttach(ctx context.Context, rounds int) ([]attachCost, error) {
	work, err := os.MkdirTemp("", "funnel-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	binary := filepath.Join(work, "attacher")
	if err := buildAttacher(ctx, binary); err != nil {
		return nil, err
	}
	info, err := os.Stat(binary)
	if err != nil {
		return nil, err
	}
	l, err := openLab(mode{name: native}, false)
	if err != nil {
		return nil, err
	}
	defer l.close()

	var costs []attachCost
	for _, count := range ruleCounts {
		if err := writeRules(rulesFolder(work, count), count); err != nil {
			return nil, err
		}
		costs = append(costs, attachCost{rules: count, binary: info.Size()},
			attachCost{rules: count, binary: info.Size(), replace: true})
	}
	for range rounds {
		for i := range costs {
			if err := costs[i].sample(ctx, l, binary, rulesFolder(work, costs[i].rules)); err != nil {
				return nil, err
			}
		}
	}
	return costs, nil
}

func buildAttacher(ctx context.Context, output string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", output, "./cmd/attacher")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the attacher: %w\n%s", err, text)
	}
	return nil
}

func rulesFolder(work string, count int) string {
	return filepath.Join(work, fmt.Sprint(count))
}

// writeRules makes rules that differ in address and port, one of which pushes, so
// that the segmenting device is made as well.
func writeRules(folder string, count int) error {
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	text := manyRules(count)
	egress := strings.Replace(text, "accept", "funnel tcp dport 179 sport 540", 1)
	for name, content := range map[string]string{"ingress.rules": text, "egress.rules": egress} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// sample runs the attacher once. A fresh attach follows a detach, a replacing one
// the fresh one of the same round.
func (c *attachCost) sample(ctx context.Context, l *lab, binary, folder string) error {
	if !c.replace {
		if err := command(binary, "detach", "--netns", l.client, "--interface", "eth0"); err != nil {
			return err
		}
	}
	cost, err := timed(ctx, binary, "attach", "--netns", l.client, "--interface", "eth0", "--rules", folder)
	if err != nil {
		return fmt.Errorf("attach %d rules: %w", c.rules, err)
	}
	c.wall, c.cpu = append(c.wall, cost.Milliseconds), append(c.cpu, cost.CPU)
	c.memory = append(c.memory, cost.MiB)
	return nil
}

// processCost is what one process took from start to end.
type processCost struct{ Milliseconds, CPU, MiB float64 }

// timed starts this program again to run a command and report its cost. The
// detour is for the memory: a process's peak includes that of the process that it
// was forked from, and here that is large.
func timed(ctx context.Context, name string, args ...string) (cost processCost, err error) {
	self, err := os.Executable()
	if err != nil {
		return cost, err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{timedCommand, name}, args...)...)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return cost, err
	}
	return cost, json.Unmarshal(text, &cost)
}

// timedCommand is the first argument of the process that timed starts.
const timedCommand = "run-timed"

// runTimed is that process: it runs a command and prints its cost as JSON.
func runTimed(args []string) error {
	runtime.LockOSThread() // what is started runs as this thread does
	goAhead()
	cmd := exec.Command(args[0], args[1:]...)
	begin := time.Now()
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	took := time.Since(begin)
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return json.NewEncoder(os.Stdout).Encode(processCost{
		Milliseconds: milliseconds(took),
		CPU:          milliseconds(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()),
		MiB:          float64(usage.Maxrss) / 1024,
	})
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

func attachText(text *strings.Builder, costs []attachCost) {
	fmt.Fprintf(text, "\n## Attach\n\nThe attacher's whole process (%.1f MB, static): both directions with that many rules each, and the segmenting\n"+
		"device. Replacing means that rules of ours were attached already. What wall has over CPU is waiting, mostly for the\n"+
		"kernel to let go of what is replaced (RCU), and grows with what else the machine does.\n\n", float64(costs[0].binary)/1e6)
	fmt.Fprintln(text, "| rules | | wall | spread | target | CPU | peak RSS |\n|---:|---|---:|---:|---|---:|---:|")
	for _, c := range costs {
		what := "fresh"
		if c.replace {
			what = "replacing"
		}
		var target string
		if g, ok := c.goal(); ok {
			target = g.String()
		}
		fmt.Fprintf(text, "| %d | %s | %.1f ms | %.1f %% | %s | %.1f ms | %.1f MiB |\n", c.rules, what,
			c.wall.Median(), 100*c.wall.Spread(), target, c.cpu.Median(), c.memory.Median())
	}
}
