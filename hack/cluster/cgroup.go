// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// cgroupFolder is the folder that a cluster makes in each hierarchy; its nodes have
// theirs in it.
func cgroupFolder(cluster string) string { return "funnel-" + cluster }

// makeCgroups makes the folders that kubelets use as their cgroup root, in each
// hierarchy of this machine: many for version 1, one for version 2, all for a
// mixture.
func makeCgroups(j journal, cluster string, nodes []string) error {
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	for _, root := range hierarchies {
		folder := filepath.Join(root, cgroupFolder(cluster))
		if err := delegate(j, root); err != nil {
			return err
		}
		if err := j.add(change{Cgroup: folder}); err != nil {
			return err
		}
		if err := makeCgroup(folder); err != nil {
			return err
		}
		if err := weigh(folder); err != nil {
			return err
		}
		for _, node := range nodes {
			if err := makeCgroup(filepath.Join(folder, node)); err != nil {
				return err
			}
		}
	}
	return nil
}

// cgroupHierarchies lists the mount points of all cgroup file systems.
func cgroupHierarchies() ([]string, error) {
	mounts, err := hostMounts()
	if err != nil {
		return nil, err
	}
	var roots []string
	for _, m := range mounts {
		if (m.kind == "cgroup" || m.kind == "cgroup2") && strings.HasPrefix(m.point, "/sys/fs/cgroup") {
			roots = append(roots, m.point)
		}
	}
	if len(roots) == 0 {
		return nil, errors.New("no cgroup file system is mounted under /sys/fs/cgroup")
	}
	return roots, nil
}

// makeCgroup makes one folder that processes and further folders can go into. A
// version 1 cpuset starts empty and must be told its CPUs; a version 2 folder must
// be told which controllers its children get.
func makeCgroup(folder string) error {
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make cgroup: %w", err)
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(folder), file))
		if err != nil {
			continue // not a version 1 cpuset, or a version 2 root, which has no such file
		}
		if err := os.WriteFile(filepath.Join(folder, file), parent, 0); err != nil {
			return fmt.Errorf("cgroup %s: %w", file, err)
		}
	}
	return enableControllers(folder)
}

// weigh gives all pods of a cluster together more CPU time than one process of the
// machine has, which they would get by default: kubelets, runtimes and what else runs
// here, each of them with as much weight, would leave containers next to nothing as
// long as they start more of them.
func weigh(folder string) error {
	for file, weight := range map[string]string{"cpu.shares": "65536", "cpu.weight": "6400"} { // version 1, 2
		err := os.WriteFile(filepath.Join(folder, file), []byte(weight), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("cgroup %s: %w", file, err)
		}
	}
	return nil
}

// delegate enables all controllers of a version 2 root for its children, and writes
// down those that it had to enable.
func delegate(j journal, root string) error {
	file := filepath.Join(root, "cgroup.subtree_control")
	before, err := os.ReadFile(file)
	if err != nil {
		return nil // version 1
	}
	missing, err := missingControllers(root)
	if err != nil || len(missing) == 0 {
		return err
	}
	err = j.add(change{Setting: &setting{
		Path: file, Content: strings.TrimSpace(string(before)), Undo: "-" + strings.Join(missing, " -"),
	}})
	if err != nil {
		return err
	}
	return enableControllers(root)
}

// enableControllers gives the children of a version 2 folder all controllers that
// the folder itself has.
func enableControllers(folder string) error {
	missing, err := missingControllers(folder)
	if err != nil || len(missing) == 0 {
		return err
	}
	file := filepath.Join(folder, "cgroup.subtree_control")
	if err := os.WriteFile(file, []byte("+"+strings.Join(missing, " +")), 0); err != nil {
		return fmt.Errorf("enable cgroup controllers: %w", err)
	}
	return nil
}

func missingControllers(folder string) ([]string, error) {
	offered, err := os.ReadFile(filepath.Join(folder, "cgroup.controllers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // version 1
	}
	if err != nil {
		return nil, err
	}
	enabled, err := os.ReadFile(filepath.Join(folder, "cgroup.subtree_control"))
	if err != nil {
		return nil, err
	}
	has := strings.Fields(string(enabled))
	return slices.DeleteFunc(strings.Fields(string(offered)), func(c string) bool { return slices.Contains(has, c) }), nil
}

// removeCgroup removes a folder and all below it. It waits for processes that were
// killed to leave.
func removeCgroup(folder string) error {
	var err error
	for range 200 {
		if err = removeEmptyFolders(folder); err == nil || !errors.Is(err, syscall.EBUSY) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

func removeEmptyFolders(folder string) error {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if err := removeEmptyFolders(filepath.Join(folder, entry.Name())); err != nil {
			return err
		}
	}
	if err := syscall.Rmdir(folder); err != nil && !errors.Is(err, syscall.ENOENT) {
		return &fs.PathError{Op: "rmdir", Path: folder, Err: err}
	}
	return nil
}
