// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestCommandsAreTold(t *testing.T) {
	for line, want := range map[string]struct {
		code           int
		stdout, stderr string // what they begin with
	}{
		"help":           {exitDone, "attacher puts funneling rules", ""},
		"--help":         {exitDone, "attacher puts funneling rules", ""},
		"attach -h":      {exitDone, "attacher puts funneling rules", ""},
		"check --help x": {exitDone, "attacher puts funneling rules", ""},
		"version":        {exitDone, "attacher ", ""},
		"--version":      {exitDone, "attacher ", ""},
		"version x":      {exitBadInput, "", `attacher: version takes no argument, found "x"`},
		"frob":           {exitBadInput, "", `attacher: unknown command "frob"; see attacher --help`},
		"detach x":       {exitBadInput, "", `attacher: detach takes no argument, found "x"`},
		"show x":         {exitBadInput, "", `attacher: show takes no argument, found "x"`},
		"show -o yaml":   {exitBadInput, "", `attacher: output "yaml": want json`},
		"attach x":       {exitBadInput, "", `attach takes no argument, found "x"`},
	} {
		got := runWith("", "", strings.Fields(line)...)
		if got.code != want.code || !strings.HasPrefix(got.stdout, want.stdout) || !strings.HasPrefix(got.stderr, want.stderr) ||
			(want.stdout == "") != (got.stdout == "") || (want.stderr == "") != (got.stderr == "") {
			t.Errorf("%s: %v", line, got)
		}
	}
}

func TestHelpFitsAScreen(t *testing.T) {
	lines := strings.Split(usage, "\n")
	for _, line := range lines {
		if len([]rune(line)) > 88 {
			t.Errorf("%d columns: %s", len([]rune(line)), line)
		}
	}
	if len(lines) > 60 {
		t.Errorf("%d lines", len(lines))
	}
}

func TestDebugSaysWhatIsAttached(t *testing.T) {
	root := tree(t, map[string]string{"web/settings": settingsOf("web", `,"interfaces":["absent0"]`), "web/ingress.rules": drop53})
	got := runWith("DEBUG=1 N_ATTEMPTS=1", "", "--rules", root)
	for _, want := range []string{"kernel ", `policy "web": digest sha256:web, priority 0, interfaces ["absent0"]`, "  ingress: udp dport 53 actions drop"} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("%q is missing: %v", want, got)
		}
	}
}
