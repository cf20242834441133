// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestAdditions(t *testing.T) {
	const before = "link eth0\nsysctl kernel/panic 1\nsysctl net/ipv4/tcp_rmem 4096 8192\n"
	for _, test := range []struct{ name, now, want string }{
		{"nothing changed", before, ""},
		{"something went", "link eth0", ""},
		{"something came", "link eth0;link veth1", "link veth1"},
		{"a value changed", "sysctl kernel/panic 10", "sysctl kernel/panic 10"},
		{"one of several values changed", "sysctl net/ipv4/tcp_rmem 4096 9000", "sysctl net/ipv4/tcp_rmem 4096 9000"},
		{"a module was loaded", "sysctl net/ipv4/vs/drop_entry 0", ""},
	} {
		now := map[string]bool{}
		for _, line := range strings.FieldsFunc(test.now, func(r rune) bool { return r == ';' || r == '\n' }) {
			now[line] = true
		}
		if got := strings.Join(slices.Sorted(maps.Keys(additions(before, now))), ";"); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestOnlyWhatAClusterMakesIsHeldAgainstIt(t *testing.T) {
	for line, want := range map[string]bool{
		"sysctl vm/overcommit_memory 1":                   true,
		"network namespace net:[4026532281] of a cluster": true,
		"link cni0":         true,
		"link veth1f2e3d4c": true,
		"link node-1":       true,
		"mount /var/lib/kubelet/pods/1/volumes tmpfs":                           true,
		"mount /run/containerd/io.containerd.grpc.v1.cri/sandboxes/1/shm tmpfs": true,
		"cgroup /sys/fs/cgroup/cpu/funnel-e2e":                                  true,
		"cgroup /sys/fs/cgroup/kubepods":                                        true,
		"directory /var/lib/kubelet":                                            true,
		"directory /run/containerd":                                             true,
		"directory /opt/cni":                                                    true,
		"directory /var/log/pods":                                               true,
		// Somebody logs in, starts a container, installs a package.
		"directory /run/motd.dynamic":                     false,
		"directory /run/user":                             false,
		"mount /run/user/1000 tmpfs":                      false,
		"network namespace net:[4026532282]":              false,
		"link veth1f2e3d4":                                false,
		"mount /var/lib/docker/overlay2/1/merged overlay": false,
		"cgroup /sys/fs/cgroup/docker":                    false,
		"directory /var/lib/apt":                          false,
	} {
		if got := clusterLine.MatchString(line); got != want {
			t.Errorf("%q: %t, want %t", line, got, want)
		}
	}
}

func TestTheProcessesOfAMachineAreACluster(t *testing.T) {
	machine := exec.Command("sh", "-c", "echo; read _", machineCommand, "x")
	in, inErr := machine.StdinPipe()
	out, outErr := machine.StdoutPipe()
	if err := errors.Join(inErr, outErr, machine.Start()); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // its command line is there a moment after it began
		t.Fatal(err)
	}
	if process := fmt.Sprint("/proc/", machine.Process.Pid); !isOfCluster(process) || isOfCluster("/proc/self") {
		t.Errorf("%s is a cluster's: %t; we: %t", process, isOfCluster(process), isOfCluster("/proc/self"))
	}
	in.Close()
	_ = machine.Wait()
}
