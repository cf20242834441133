// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommandLinesThatMeanNothing(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("FUNNEL_CACHE", cache)
	for _, c := range []struct {
		line   string
		status int
		said   string
	}{
		{"frob", 2, "cluster frob: no such command"},
		{"down -name typo", 1, "cluster down: there is no cluster typo in " + cache},
		{"down e2e", 2, "cluster down: takes no argument, found \"e2e\": a cluster is named by -name"},
		{"kubeconfig e2e", 2, "cluster kubeconfig: takes no argument"},
		{"down -name a_b", 2, "-name \"a_b\": letters, digits and dashes only"},
		{"down -name a/b", 2, "letters, digits and dashes only"},
		{"exec", 2, "which machine and which command?"},
		{"proxy-mode", 2, "which mode?"},
		{"settled", 2, "which Service?"},
		{"outage node-1", 2, "which machine and which program?"},
		{"kill node-1", 2, "which node and which container?"},
		{"reboot control", 2, "which node?"},
		{"down -frob", 2, "flag provided but not defined"},
	} {
		var out bytes.Buffer
		if status := run(t.Context(), strings.Fields(c.line), &out, &out); status != c.status || !strings.Contains(out.String(), c.said) {
			t.Errorf("%s: status %d, said %q", c.line, status, &out)
		}
	}
	if err := os.Mkdir(filepath.Join(cache, "cluster-demo"), 0o755); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if status := run(t.Context(), []string{"down"}, &out, &out); status != 0 || out.Len() > 0 {
		t.Errorf("status %d, said %q", status, &out)
	}
}
