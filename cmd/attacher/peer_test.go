// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/golden"
)

func TestCheckPeerPrintsWhatTheGoldenFilesSay(t *testing.T) {
	for name, line := range map[string]string{
		"seed":       "testdata/check/seed_client.rules testdata/check/seed_backend.rules",
		"undone":     "--map tcp/80=8080 testdata/peer/client testdata/peer/backend",
		"reply":      "testdata/peer/reply_client.rules testdata/peer/reply_backend.rules",
		"not_undone": "testdata/peer/client testdata/peer/backend",
	} {
		golden.Compare(t, "testdata/peer/"+name+".golden", runWith("", "", strings.Fields("check --peer "+line)...).String())
	}
}

func TestCheckPeerRefusesWrongUse(t *testing.T) {
	seed := " testdata/check/seed_client.rules testdata/check/seed_backend.rules"
	for line, want := range map[string]string{
		"--peer":           "want check --peer [--map tcp/80=8080]… CLIENT BACKEND",
		"--peer x":         "want check --peer",
		"--peer a b c":     "want check --peer",
		"--map tcp/80=1 x": "want check --peer",
		"--peer absent" + seed[:len(" testdata/check/seed_client.rules")]:            "open absent: no such file",
		"--peer --direction ingress" + seed:                                          "want check --peer",
		"--peer --map sctp/80=8080" + seed:                                           "want a Service's port and its target port",
		"--peer --map tcp/80" + seed:                                                 "want a Service's port and its target port",
		"--peer --map tcp/0=8080" + seed:                                             "want a Service's port and its target port",
		"--peer testdata/check/faults.rules testdata/check/seed_backend.rules":       "testdata/check/faults.rules:1:11: port 0",
		"--peer testdata/check/seed_backend.rules testdata/check/seed_backend.rules": "neither testdata/check/seed_backend.rules nor",
	} {
		got := runWith("", "", strings.Fields("check "+line)...)
		if got.code != exitBadInput || got.stdout != "" || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: %v", line, got)
		}
	}
}
