// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// printSnapshot lists what a cluster could leave behind on the host, one thing a
// line and sorted. With since, the name of a file with an earlier list, it prints
// only the lines that are new, and fails if there are any. New lines that no cluster
// makes, as when somebody logs in or starts a container, are notes: they fail nothing.
func printSnapshot(w, notes io.Writer, since string) error {
	now, err := snapshot()
	if err != nil {
		return err
	}
	if since != "" {
		before, err := os.ReadFile(since)
		if err != nil {
			return err
		}
		now = additions(string(before), now)
		for _, line := range slices.Sorted(maps.Keys(now)) {
			if !clusterLine.MatchString(line) {
				fmt.Fprintln(notes, "new, but no cluster's:", line)
				delete(now, line)
			}
		}
	}
	for _, line := range slices.Sorted(maps.Keys(now)) {
		fmt.Fprintln(w, line)
	}
	if since != "" && len(now) > 0 {
		return fmt.Errorf("%d differences to %s", len(now), since)
	}
	return nil
}

// clusterLine matches the lines of a snapshot that can be a cluster's: its namespaces and
// cgroups by their names, all sysctls, and what Kubernetes' node agents, containerd and
// CNI would leave were they not kept in their machines.
var clusterLine = regexp.MustCompile(`^(` + strings.Join([]string{
	`sysctl .*`,
	`network namespace .* ` + ofCluster,
	`link (cni|cbr|kube-|veth[0-9a-f]{8}$|node-|(` + strings.Join([]string{nodeBridge, gatewayName, outsideName, controlName}, "|") + `)$).*`,
	`mount .*(kubelet|kubernetes|/k8s\.io/|io\.containerd\.grpc|/cni-|/cluster-).*`,
	`cgroup .*/(` + cgroupFolder("") + `|kube|k8s).*`,
	`directory /(etc|opt|usr/libexec|run|var/lib)/(cni|containerd|runc|etcd|flexvolume|kube.*)`,
	`directory /var/log/.*`,
}, "|") + `)$`)

// additions returns the lines of now that are not in before. A sysctl that did not
// exist before is none: it came with a module that somebody loaded.
func additions(before string, now map[string]bool) map[string]bool {
	existed := map[string]bool{}
	for line := range strings.Lines(before) {
		line = strings.TrimSuffix(line, "\n")
		existed[line] = true
		if name, isSysctl := sysctlName(line); isSysctl {
			existed[name] = true
		}
	}
	added := map[string]bool{}
	for line := range now {
		name, isSysctl := sysctlName(line)
		if !existed[line] && (!isSysctl || existed[name]) {
			added[line] = true
		}
	}
	return added
}

// sysctlName is "sysctl NAME" of the line "sysctl NAME VALUE".
func sysctlName(line string) (name string, isSysctl bool) {
	rest, isSysctl := strings.CutPrefix(line, "sysctl ")
	name, _, _ = strings.Cut(rest, " ")
	return "sysctl " + name, isSysctl
}

// snapshot is a set of lines, each with one thing that the host shows.
func snapshot() (map[string]bool, error) {
	lines := map[string]bool{}
	for _, list := range []func() ([]string, error){listNamespaces, listLinks, listMounts, listCgroups, listSysctls, listDirectories} {
		found, err := list()
		if err != nil {
			return nil, err
		}
		for _, line := range found {
			lines[line] = true
		}
	}
	return lines, nil
}

// ofCluster marks a network namespace that a machine or a container of a cluster is in.
const ofCluster = "of a cluster"

// listNamespaces lists the network namespaces that a process is in which has a
// mount namespace of its own too, as nodes and containers have. Others, named
// ones among them, are somebody's who works here as well.
func listNamespaces() ([]string, error) {
	host, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil, err
	}
	named := namedNamespaces()
	processes, _ := filepath.Glob("/proc/[0-9]*")
	var lines []string
	for _, process := range processes {
		network, networkErr := os.Readlink(filepath.Join(process, "ns/net"))
		mounts, mountsErr := os.Readlink(filepath.Join(process, "ns/mnt"))
		if networkErr == nil && mountsErr == nil && mounts != host && !named[network] {
			line := "network namespace " + network
			if isOfCluster(process) {
				line += " " + ofCluster
			}
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// isOfCluster tells a cluster's processes by what started them or by their cgroup.
func isOfCluster(process string) bool {
	command, _ := os.ReadFile(filepath.Join(process, "cmdline"))
	cgroups, _ := os.ReadFile(filepath.Join(process, "cgroup"))
	return strings.Contains(string(command), "\x00"+machineCommand+"\x00") || strings.Contains(string(cgroups), "/"+cgroupFolder(""))
}

// namespaceFolder is where "ip netns" keeps its namespaces.
const namespaceFolder = "/run/netns"

// namedNamespaces are the network namespaces that "ip netns" knows.
func namedNamespaces() map[string]bool {
	named := map[string]bool{}
	names, _ := filepath.Glob(namespaceFolder + "/*")
	for _, name := range names {
		var info unix.Stat_t
		if err := unix.Stat(name, &info); err == nil {
			named[fmt.Sprintf("net:[%d]", info.Ino)] = true
		}
	}
	return named
}

func listLinks() ([]string, error) {
	links, err := filepath.Glob("/sys/class/net/*")
	for i, link := range links {
		links[i] = "link " + filepath.Base(link)
	}
	return links, err
}

func listMounts() ([]string, error) {
	mounts, err := hostMounts()
	var lines []string
	for _, m := range mounts {
		if !strings.HasPrefix(m.point, namespaceFolder) {
			lines = append(lines, "mount "+m.point+" "+m.kind)
		}
	}
	return lines, err
}

// listCgroups lists the top folders of each cgroup hierarchy, where Kubernetes makes
// its own, but not systemd's units, which come and go by themselves.
func listCgroups() ([]string, error) {
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, root := range hierarchies {
		entries, err := os.ReadDir(root)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			switch filepath.Ext(entry.Name()) {
			case ".service", ".scope", ".slice":
				continue
			}
			if entry.IsDir() {
				lines = append(lines, "cgroup "+filepath.Join(root, entry.Name()))
			}
		}
	}
	return lines, nil
}

// listSysctls lists the values of the sysctls that Kubernetes' node agents write,
// and all of networking's that say something about configuration.
func listSysctls() ([]string, error) {
	var lines []string
	add := func(path string) {
		if content, err := os.ReadFile(path); err == nil {
			lines = append(lines, "sysctl "+strings.TrimPrefix(path, "/proc/sys/")+" "+strings.Join(strings.Fields(string(content)), " "))
		}
	}
	for _, path := range nodeSysctls {
		add(path)
	}
	err := filepath.WalkDir("/proc/sys/net", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || isCounter(path) || isOfInterface(path) {
			return ignoreVanished(err)
		}
		add(path)
		return nil
	})
	return lines, err
}

// listDirectories lists what Kubernetes' parts would make in the file system if
// nobody gave them a place of their own. The folder of named network namespaces
// comes with the first one of whoever works here as well.
func listDirectories() ([]string, error) {
	var lines []string
	for _, pattern := range []string{
		"/etc/cni", "/etc/kubernetes", "/etc/containerd", "/opt/*", "/usr/libexec/kubernetes",
		"/run/*", "/var/lib/*", "/var/log/pods", "/var/log/containers",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			if path != namespaceFolder {
				lines = append(lines, "directory "+path)
			}
		}
	}
	return lines, nil
}

// isCounter tells whether a sysctl shows use, not configuration.
func isCounter(path string) bool {
	name := filepath.Base(path)
	return strings.HasSuffix(name, "_count") || strings.HasPrefix(name, "stable_secret") || name == "fib_notify_on_flag_change"
}

// isOfInterface tells whether a sysctl is one interface's, /proc/sys/net/ipv4/conf/NAME/…,
// and goes with it.
func isOfInterface(path string) bool {
	parts := strings.Split(strings.TrimPrefix(path, "/proc/sys/net/"), "/")
	return len(parts) == 4 && (parts[1] == "conf" || parts[1] == "neigh") &&
		parts[2] != "all" && parts[2] != "default" && parts[2] != "lo"
}

func ignoreVanished(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// A mount is one line of /proc/self/mountinfo: where, and what kind of file system.
type mount struct{ point, kind string }

// hostMounts lists the mounts of this process's namespace.
func hostMounts() ([]mount, error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var mounts []mount
	for line := range strings.Lines(string(info)) {
		before, after, found := strings.Cut(line, " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if found && len(fields) >= 5 && len(rest) > 0 {
			mounts = append(mounts, mount{point: fields[4], kind: rest[0]})
		}
	}
	return mounts, nil
}
