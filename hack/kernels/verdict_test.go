// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/sfunnel-io/funnel-operator/hack/kernels/plan"
)

// mustReport writes a report as a guest does: events, and the output of tests
// between them as strings.
func mustReport(t *testing.T, parts ...any) string {
	t.Helper()
	var report strings.Builder
	for _, part := range parts {
		switch part := part.(type) {
		case plan.Event:
			if err := plan.Write(&report, part); err != nil {
				t.Fatal(err)
			}
		case string:
			report.WriteString(part)
		}
	}
	return report.String()
}

func TestJudge(t *testing.T) {
	const (
		pass = "\x16=== RUN   TestA\n\x16--- PASS: TestA (0.00s)\n\x16PASS\n"
		fail = "\x16=== RUN   TestA\n    a_test.go:1: bad\n\x16--- FAIL: TestA (0.00s)\n\x16FAIL\n"
		skip = "\x16=== RUN   TestA\n    a_test.go:1: no such module\n\x16--- SKIP: TestA (0.00s)\n\x16PASS\n"
		half = "\x16=== RUN   TestA\n    a_test.go:1: about to ha"
	)
	start, done := plan.Event{Kind: plan.Start, Name: "p"}, plan.Event{Kind: plan.Done}
	result := plan.Event{Kind: plan.Result, Name: "p"}
	failed := plan.Event{Kind: plan.Result, Name: "p", Exit: 1, Error: "exit status 1"}
	warned := plan.Event{Kind: plan.Result, Name: "p", Taint: 1 << 9}

	for name, c := range map[string]struct {
		report string
		good   bool
		shown  string
	}{
		"a test that passes":               {mustReport(t, start, pass, result, done), true, ""},
		"a test that fails":                {mustReport(t, start, fail, failed, done), false, "a_test.go:1: bad"},
		"a binary that fails afterwards":   {mustReport(t, start, pass, failed, done), false, "exit status 1"},
		"only skipped tests":               {mustReport(t, start, skip, result, done), false, "no test ran"},
		"a skip's reason":                  {mustReport(t, start, skip, result, done), false, "TestA: a_test.go:1: no such module"},
		"a kernel that has warned":         {mustReport(t, start, pass, warned, done), false, "warned or oopsed"},
		"a panic or hang in a test":        {mustReport(t, start, half), false, "TestA did not end"},
		"a panic or hang after the tests":  {mustReport(t, start, pass, result), false, "did not come to its end"},
		"no result":                        {mustReport(t, start, pass, done), false, "no result"},
		"a guest that could not be set up": {mustReport(t, plan.Event{Kind: plan.Fault, Error: "mount"}), false, "mount"},
		"nothing at all":                   {"", false, "no result"},
		"a result in the middle of a line": {mustReport(t, start, pass, "no newline", result, done), true, ""},
	} {
		verdicts, faults, err := judge(t.Context(), c.report, []string{"p"})
		if err != nil {
			t.Fatal(err)
		}
		shown := strings.Join(append(append(faults, verdicts[0].faults...), verdicts[0].skips...), "\n") + verdicts[0].output
		if good := verdicts[0].ok() && len(faults) == 0; good != c.good || !strings.Contains(shown, c.shown) {
			t.Errorf("%s: good is %t, want %t with %q in\n%s", name, good, c.good, c.shown, shown)
		}
	}
}
