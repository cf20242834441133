// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// packageNames are Debian packages that nodes need and that are not installed on
// the host, only unpacked.
var packageNames = []string{"containerd", "runc", "containernetworking-plugins"}

// packages returns a directory with the packages' files, in the versions that apt
// knows now; they are fetched once per version.
func packages(ctx context.Context, cache string, log io.Writer) (string, error) {
	dir, failed := knownPackages(ctx, cache, log)
	if failed == nil {
		return dir, nil
	}
	// There are no lists, or they are so old that the files have gone.
	fmt.Fprintln(log, "asking apt for its lists …")
	if output, err := exec.CommandContext(ctx, "apt-get", "update", "-qq").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\nand apt-get update: %w\n%s", failed, err, output)
	}
	return knownPackages(ctx, cache, log)
}

// knownPackages is packages with apt's lists as they are.
func knownPackages(ctx context.Context, cache string, log io.Writer) (string, error) {
	names, err := packageFiles(ctx)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, fmt.Sprintf("packages-%.6x", sha256.Sum256(names)))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	fmt.Fprintln(log, "fetching containerd, runc and CNI plugins (35 MB, once) …")
	return dir, fetchPackages(ctx, cache, dir)
}

// packageFiles is what apt would download: a line with name, version and hash for
// each package.
func packageFiles(ctx context.Context) ([]byte, error) {
	args := append([]string{"--print-uris", "download"}, packageNames...)
	var failure bytes.Buffer
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Stderr = &failure
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("apt-get download: %w\n%s", err, &failure)
	}
	return output, nil
}

// fetchPackages unpacks the packages aside and makes them appear at dir in one step.
func fetchPackages(ctx context.Context, cache, dir string) error {
	work, err := os.MkdirTemp(cache, ".packages-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	// apt drops root for downloads, to a user who may not be able to write here.
	args := append([]string{"-o", "APT::Sandbox::User=root", "download"}, packageNames...)
	if err := runIn(ctx, work, "apt-get", args...); err != nil {
		return err
	}
	archives, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil {
		return err
	}
	tree := filepath.Join(work, "tree")
	for _, archive := range archives {
		if err := runIn(ctx, work, "dpkg-deb", "-x", archive, tree); err != nil {
			return err
		}
	}
	if err := os.Chmod(tree, 0o755); err != nil {
		return err
	}
	if err := os.Rename(tree, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

func runIn(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, output)
	}
	return nil
}
