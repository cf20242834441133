// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/golden"
)

// ran is what one run left: exit code, standard output, standard error.
type ran struct {
	code           int
	stdout, stderr string
}

func (r ran) String() string {
	return fmt.Sprintf("exit %d\n--- stdout\n%s--- stderr\n%s", r.code, r.stdout, r.stderr)
}

// runWith runs the attacher within this process.
func runWith(env, stdin string, args ...string) ran {
	var stdout, stderr bytes.Buffer
	code := run(context.Background(), args, outside{variables(env), strings.NewReader(stdin), &stdout, &stderr})
	return ran{code, stdout.String(), stderr.String()}
}

func TestCheckPrintsWhatTheGoldenFilesSay(t *testing.T) {
	files, err := filepath.Glob("testdata/check/*.rules")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		golden.Compare(t, strings.TrimSuffix(file, ".rules")+".golden", runWith("", "", "check", file).String())
	}
}

func TestCheckOfCanonicalTextChangesNothing(t *testing.T) {
	first := runWith("", "", "check", "testdata/check/canonical.rules")
	again := runWith("", first.stdout, "check", "-")
	if again.code != exitDone || again.stdout != first.stdout {
		t.Errorf("got %v\nwant %v", again, first)
	}
}

func TestCheckOfSeveralFilesNamesThem(t *testing.T) {
	got := runWith("", "", "check", "--direction", "ingress", "testdata/check/seed_backend.rules", "absent.rules", "testdata/check/faults.rules")
	if got.code != exitBadInput || !strings.HasPrefix(got.stdout, "# testdata/check/seed_backend.rules\n") ||
		!strings.Contains(got.stderr, "open absent.rules: no such file or directory\n") ||
		!strings.Contains(got.stderr, "testdata/check/faults.rules:1:11: ") {
		t.Errorf("got %v", got)
	}
}

func TestCheckRefusesWrongUse(t *testing.T) {
	for _, args := range []string{"check", "check --direction up x", "check --frob x"} {
		if got := runWith("", "", strings.Fields(args)...); got.code != exitBadInput || got.stdout != "" || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%s: %v", args, got)
		}
	}
}
