// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// A change is one thing done to the host, said so that it can be undone. Exactly
// one field is set.
type change struct {
	Process *process `json:"process,omitempty"` // was started; is killed
	Cgroup  string   `json:"cgroup,omitempty"`  // directory that was made; is removed with all below it
	Setting *setting `json:"setting,omitempty"` // file in /proc or /sys that may change; gets its content back
}

// A process is known by its number and the time it started (clock ticks since
// boot), since numbers come again.
type process struct {
	Pid   int    `json:"pid"`
	Start string `json:"start"`
}

// A setting is a kernel file and what it contained. Undo is what is written to get
// there; empty: the content itself.
type setting struct {
	Path    string `json:"path"`
	Content string `json:"content"`
	Undo    string `json:"undo,omitempty"`
}

// A journal is a file with one change per line, oldest first.
type journal string

// add writes a change down. Call it before the change is made; only a process is
// written down just after, while it still waits for its parent's word.
func (j journal) add(c change) error {
	line, err := json.Marshal(c)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(string(j), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.Write(append(line, '\n'))
	return err
}

// undo takes everything back, newest first, and goes on where something fails. The
// journal goes when all succeeded. No journal: nothing to undo.
func (j journal) undo() error {
	changes, err := j.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var failures []error
	for _, c := range slices.Backward(changes) {
		failures = append(failures, c.undo())
	}
	if err := errors.Join(failures...); err != nil {
		return err
	}
	return os.Remove(string(j))
}

func (j journal) read() ([]change, error) {
	file, err := os.Open(string(j))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var changes []change
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var c change
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("%s: %w", j, err)
		}
		changes = append(changes, c)
	}
	return changes, lines.Err()
}

func (c change) undo() error {
	switch {
	case c.Process != nil:
		return c.Process.kill()
	case c.Cgroup != "":
		return removeCgroup(c.Cgroup)
	case c.Setting != nil:
		return c.Setting.restore()
	}
	return nil
}

// remember writes down what the kernel file at path contains now. A file that does
// not exist on this kernel needs no undoing.
func (j journal) remember(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return j.add(change{Setting: &setting{Path: path, Content: strings.TrimSpace(string(content))}})
}

func (s *setting) restore() error {
	now, err := os.ReadFile(s.Path)
	if err != nil || strings.TrimSpace(string(now)) == s.Content {
		return err
	}
	write := s.Content
	if s.Undo != "" {
		write = s.Undo
	}
	return os.WriteFile(s.Path, []byte(write), 0)
}

// thisProcess describes the process of that number as it runs now.
func thisProcess(pid int) (*process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	// The second field is the command in parentheses and may contain anything.
	rest := string(stat[strings.LastIndexByte(string(stat), ')')+1:])
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" {
		return nil, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	return &process{Pid: pid, Start: fields[19]}, nil
}

// alive tells whether this very process still runs.
func (p *process) alive() bool {
	now, err := thisProcess(p.Pid)
	return err == nil && *now == *p
}

// kill ends the process, and with it, as it is the first of its pid namespace, all
// that it started. It returns when they are gone.
func (p *process) kill() error {
	if !p.alive() {
		return nil
	}
	found, err := os.FindProcess(p.Pid)
	if err != nil {
		return err
	}
	if err := found.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %d: %w", p.Pid, err)
	}
	for range 600 {
		if !p.alive() {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("process %d does not end", p.Pid)
}
