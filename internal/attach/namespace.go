// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// inNamespace runs f on a thread of its own inside a network namespace: a name
// below /run/netns, a path, or the id of a process. The empty string is the
// namespace of this process. The thread ends with f, so that no other code
// ever runs in the wrong namespace.
func inNamespace(namespace string, f func() error) error {
	if namespace == "" {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread must not be used again
		if err := enter(namespacePath(namespace)); err != nil {
			done <- fmt.Errorf("network namespace %s: %w", namespace, err)
			return
		}
		done <- f()
	}()
	return <-done
}

func enter(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", path, err)
	}
	return nil
}

// namespacePath returns the file that stands for a namespace. Digits mean a
// process unless a namespace has that name.
func namespacePath(namespace string) string {
	if strings.HasPrefix(namespace, "/") {
		return namespace
	}
	named := filepath.Join("/run/netns", filepath.Base(namespace))
	if _, err := strconv.ParseUint(namespace, 10, 31); err == nil {
		if _, err := os.Stat(named); err != nil {
			return filepath.Join("/proc", namespace, "ns/net")
		}
	}
	return named
}
