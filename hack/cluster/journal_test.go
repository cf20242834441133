// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestUndoRestoresTheOldestContentAndRemovesTheJournal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "overcommit_memory")
	j := journal(filepath.Join(t.TempDir(), "journal"))
	for _, content := range []string{"0\n", "1\n", "2\n"} {
		mustWriteFile(t, file, content)
		if err := j.remember(file); err != nil {
			t.Fatal(err)
		}
	}
	mustUndo(t, j)
	if content, _ := os.ReadFile(file); string(content) != "0" {
		t.Errorf("content is %q, want the first that was remembered", content)
	}
	if _, err := os.Stat(string(j)); !os.IsNotExist(err) {
		t.Error("the journal is still there")
	}
	mustUndo(t, j)
}

func TestUndoWritesWhatLeadsBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cgroup.subtree_control")
	j := journal(filepath.Join(t.TempDir(), "journal"))
	mustWriteFile(t, file, "cpu memory pids")
	if err := j.add(change{Setting: &setting{Path: file, Content: "cpu memory", Undo: "-pids"}}); err != nil {
		t.Fatal(err)
	}
	mustUndo(t, j)
	if content, _ := os.ReadFile(file); string(content) != "-pids" {
		t.Errorf("wrote %q, want -pids", content)
	}
}

func TestUndoKillsWhatWasStarted(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	started, err := thisProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	j := journal(filepath.Join(t.TempDir(), "journal"))
	if err := j.add(change{Process: started}); err != nil {
		t.Fatal(err)
	}
	mustUndo(t, j)
	if err := <-ended; err == nil {
		t.Error("the process ended by itself, not by a signal")
	}
}

// The process that has the number now is this test: it survives.
func TestUndoSparesAProcessThatHasTheNumberNow(t *testing.T) {
	j := journal(filepath.Join(t.TempDir(), "journal"))
	if err := j.add(change{Process: &process{Pid: os.Getpid(), Start: "1"}}); err != nil {
		t.Fatal(err)
	}
	mustUndo(t, j)
}

func TestUndoRemovesNestedFolders(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "funnel-test")
	if err := os.MkdirAll(filepath.Join(folder, "node-1/kubepods/burstable"), 0o755); err != nil {
		t.Fatal(err)
	}
	j := journal(filepath.Join(t.TempDir(), "journal"))
	if err := j.add(change{Cgroup: folder}); err != nil {
		t.Fatal(err)
	}
	mustUndo(t, j)
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Error("the folder is still there")
	}
}

func TestUndoKeepsTheJournalWhenSomethingFails(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "funnel-test")
	mustWriteFile(t, folder, "a file, which rmdir refuses")
	j := journal(filepath.Join(t.TempDir(), "journal"))
	if err := j.add(change{Cgroup: folder}); err != nil {
		t.Fatal(err)
	}
	if err := j.undo(); err == nil {
		t.Fatal("no error")
	}
	if _, err := os.Stat(string(j)); err != nil {
		t.Error("the journal is gone:", err)
	}
}

func mustUndo(t *testing.T, j journal) {
	t.Helper()
	if err := j.undo(); err != nil {
		t.Fatal(err)
	}
}

func mustWriteFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
