// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lockName is an abstract address of a Unix socket: one for all users and all caches of
// this computer, without a file that stays.
const lockName = "@funnel-operator-cluster"

// lockMachine takes the lock that a cluster holds: one at a time, since clusters share
// the cgroup file system, and each must restore the sysctls that it found. It is free
// again when all copies of the file are closed, its machines' among them.
func lockMachine() (*os.File, error) {
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	lock := os.NewFile(uintptr(socket), lockName)
	if err := unix.Bind(socket, &unix.SockaddrUnix{Name: lockName}); err != nil {
		lock.Close()
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("another cluster is up on this computer, held by %s: take it down first "+
				"(go run ./hack/cluster down -name NAME, with the HOME or FUNNEL_CACHE of whoever started it)", lockHolder())
		}
		return nil, fmt.Errorf("lock: %w", err)
	}
	return lock, nil
}

// lockHolder describes a process that holds the lock, by its number and its command
// line: a machine's names the cluster's folder.
func lockHolder() string {
	sockets, err := os.ReadFile("/proc/thread-self/net/unix")
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(sockets)) {
		fields := strings.Fields(line) // Num: RefCount Protocol Flags Type St Inode Path
		if len(fields) != 8 || fields[7] != lockName {
			continue
		}
		files, _ := filepath.Glob("/proc/[0-9]*/fd/*")
		for _, file := range files {
			if target, err := os.Readlink(file); err == nil && target == "socket:["+fields[6]+"]" {
				process := filepath.Dir(filepath.Dir(file))
				command, _ := os.ReadFile(filepath.Join(process, "cmdline"))
				words := strings.ReplaceAll(strings.TrimRight(string(command), "\x00"), "\x00", " ")
				return fmt.Sprintf("process %s (%s)", filepath.Base(process), words)
			}
		}
	}
	return "a process that is not to be seen from here"
}
