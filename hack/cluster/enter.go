// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// inside returns the command line that runs another one in all namespaces of a
// machine.
func (s *state) inside(machine string, command ...string) ([]string, error) {
	m, ok := s.Machines[machine]
	if !ok || !m.alive() {
		return nil, fmt.Errorf("no machine %q is up", machine)
	}
	enter := []string{"nsenter", "--target", strconv.Itoa(m.Pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--"}
	return append(enter, command...), nil
}

// enter becomes the command that follows a machine's name.
func enter(dir string, args []string) error {
	if len(args) > 1 && args[1] == "--" {
		args = append(args[:1:1], args[2:]...)
	}
	if len(args) < 2 {
		return misuse("which machine and which command?")
	}
	s, err := readState(dir)
	if err != nil {
		return err
	}
	line, err := s.inside(args[0], args[1:]...)
	if err != nil {
		return err
	}
	path, err := exec.LookPath(line[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, line, os.Environ())
}

// onNodes does something with every node at the same time.
func (s *state) onNodes(do func(node string) error) error {
	var nodes errgroup.Group
	for name := range s.Machines {
		if isNode(name) {
			nodes.Go(func() error { return do(name) })
		}
	}
	return nodes.Wait()
}

// loadImages imports image tarballs into the containerd of every node.
func loadImages(ctx context.Context, dir string, images []string) error {
	s, err := readState(dir)
	if err != nil {
		return err
	}
	return s.onNodes(func(node string) error {
		for _, image := range images {
			if err := s.importImage(ctx, node, image); err != nil {
				return fmt.Errorf("load %s on %s: %w", image, node, err)
			}
		}
		return nil
	})
}

// importImage imports one tarball on one node, through standard input, since a node
// does not see all of the host's files. It waits for a containerd that is starting, a minute
// and the time that 120 attempts take.
func (s *state) importImage(ctx context.Context, node, image string) error {
	ctr := filepath.Join(s.Packages, "usr/bin/ctr")
	line, err := s.inside(node, ctr, "--namespace=k8s.io", "images", "import", "-")
	if err != nil {
		return err
	}
	var failure error
	for range 120 {
		file, err := os.Open(image)
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, line[0], line[1:]...)
		cmd.Stdin = file
		output, err := cmd.CombinedOutput()
		file.Close()
		if err == nil {
			return nil
		}
		failure = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(output)))
		if !strings.Contains(string(output), "containerd.sock") || ctx.Err() != nil {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	return failure
}
