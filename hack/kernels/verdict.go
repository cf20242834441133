// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/sfunnel-io/funnel-operator/hack/kernels/plan"
)

// verdict is what one boot showed of one package.
type verdict struct {
	name                    string
	passed, failed, skipped int
	skips                   []string // "TestName: reason"
	output                  string   // of what failed or did not end, and of the binary itself
	faults                  []string // what is wrong with the run itself
}

// ok says whether something ran and nothing failed.
func (v verdict) ok() bool {
	return v.passed > 0 && v.failed == 0 && len(v.faults) == 0
}

// judge reads a report. There is a verdict for every expected package, with a
// fault for each that the guest left without a result; finished says whether
// the guest came to its end.
func judge(ctx context.Context, report string, expected []string) (verdicts []verdict, faults []string, err error) {
	results, outputs, faults := split(report)
	for _, name := range expected {
		v, err := count(ctx, name, outputs[name])
		if err != nil {
			return nil, nil, err
		}
		v.faults = append(v.faults, runFaults(name, results)...)
		if v.passed+v.failed == 0 && len(v.faults) == 0 {
			v.faults = append(v.faults, "no test ran")
		}
		verdicts = append(verdicts, v)
	}
	return verdicts, faults, nil
}

// split takes a report apart: results and raw output by package, and what the
// guest itself complained of.
func split(report string) (results map[string]plan.Event, outputs map[string]string, faults []string) {
	results, outputs = map[string]plan.Event{}, map[string]string{}
	current, done := "", false
	for _, line := range strings.SplitAfter(report, "\n") {
		event, ok := plan.Parse(line)
		switch {
		case !ok:
			outputs[current] += line
		case event.Kind == plan.Start:
			current = event.Name
		case event.Kind == plan.Result:
			results[event.Name], current = event, ""
		case event.Kind == plan.Fault:
			faults = append(faults, event.Error)
		case event.Kind == plan.Done:
			done = true
		}
	}
	if !done {
		faults = append(faults, "the guest did not come to its end")
	}
	return results, outputs, faults
}

func runFaults(name string, results map[string]plan.Event) []string {
	result, found := results[name]
	if !found {
		return []string{"no result"}
	}
	var faults []string
	if result.Exit != 0 {
		faults = append(faults, result.Error)
	}
	// Bit 7: the kernel has oopsed. Bit 9: it has warned.
	if result.Taint&(1<<7|1<<9) != 0 {
		faults = append(faults, fmt.Sprintf("the kernel is tainted (%#x): it has warned or oopsed", result.Taint))
	}
	return faults
}

// testEvent is one line of go tool test2json. Test is empty for the binary.
type testEvent struct{ Action, Test, Output string }

// count tells tests apart in what a binary printed under -test.v=test2json.
func count(ctx context.Context, name, output string) (verdict, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json")
	cmd.Stdin, cmd.Stderr = strings.NewReader(output), os.Stderr
	lines, err := cmd.Output()
	if err != nil {
		return verdict{}, fmt.Errorf("go tool test2json: %w", err)
	}
	v := verdict{name: name}
	running := map[string]string{"": ""} // test to what it has printed
	for decoder := json.NewDecoder(bytes.NewReader(lines)); decoder.More(); {
		var event testEvent
		if err := decoder.Decode(&event); err != nil {
			return verdict{}, err
		}
		running[event.Test] += event.Output
		v.take(event, running)
	}
	for _, test := range sortedKeys(running) {
		if test != "" {
			v.faults = append(v.faults, test+" did not end")
		}
		v.output += running[test]
	}
	return v, nil
}

// take counts a test that has ended and removes it from those that run.
func (v *verdict) take(event testEvent, running map[string]string) {
	if event.Test == "" {
		return
	}
	switch event.Action {
	case "pass":
		v.passed++
	case "fail":
		v.failed++
		v.output += running[event.Test]
	case "skip":
		v.skipped++
		v.skips = append(v.skips, event.Test+": "+skipReason(running[event.Test]))
	default:
		return
	}
	delete(running, event.Test)
}

// skipReason is what a test said between its "=== RUN" and "--- SKIP" lines.
func skipReason(printed string) string {
	var said []string
	for _, line := range strings.Split(printed, "\n") {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}
