// SPDX-License-Identifier: Apache-2.0

package testnet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace with a name, as `ip netns` knows it. It is
// removed with all that is in it when the test ends.
type Namespace struct {
	Name   string
	t      testing.TB
	handle netns.NsHandle
}

var namespaces atomic.Int64 // made by this process

// NewNamespace makes a network namespace whose loopback device is up. Its name
// is made of this process's id, a number and the label.
func NewNamespace(t testing.TB, label string) *Namespace {
	t.Helper()
	RequireRoot(t)
	removeLeftOver()
	ns := &Namespace{Name: fmt.Sprintf("tn-%d-%d-%s", os.Getpid(), namespaces.Add(1), label), t: t}
	var err error
	onThread(func() {
		ns.handle, err = netns.NewNamed(ns.Name)
	})
	if err != nil {
		t.Fatalf("make network namespace %s: %v", ns.Name, err)
	}
	t.Cleanup(func() {
		ns.handle.Close()
		if err := netns.DeleteNamed(ns.Name); err != nil {
			t.Errorf("remove network namespace %s: %v", ns.Name, err)
		}
	})
	ns.Run("ip", "link", "set", "lo", "up")
	return ns
}

var removeLeftOver = sync.OnceFunc(func() { RemoveLeftOver("tn") })

// RemoveLeftOver removes the namespaces PREFIX-PID-NUMBER-LABEL of processes that ended
// without doing so: they were killed, or ran out of time.
func RemoveLeftOver(prefix string) {
	left, _ := filepath.Glob("/run/netns/" + prefix + "-*-*-*")
	for _, path := range left {
		name := filepath.Base(path)
		id, err := strconv.Atoi(strings.SplitN(name, "-", 3)[1])
		if err == nil && errors.Is(unix.Kill(id, 0), unix.ESRCH) {
			_ = netns.DeleteNamed(name)
		}
	}
}

// onThread runs f on an operating system thread that ends with it, so that the
// thread may change its namespace.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		f()
	}()
	<-done
}

// Do runs f in the namespace and waits for it. Sockets that f opens stay in the
// namespace; goroutines that it starts are not in it.
func (ns *Namespace) Do(f func()) {
	ns.t.Helper()
	var err error
	onThread(func() {
		if err = netns.Set(ns.handle); err == nil {
			f()
		}
	})
	if err != nil {
		ns.t.Fatalf("enter network namespace %s: %v", ns.Name, err)
	}
}

// Run runs a command in the namespace and returns what it prints. The test
// fails when the command does. (It does without the mounts of its own that `ip
// netns exec` makes, which take longer than most commands; /sys is the host's.)
func (ns *Namespace) Run(command ...string) string {
	ns.t.Helper()
	var out []byte
	var err error
	ns.Do(func() { out, err = exec.Command(command[0], command[1:]...).CombinedOutput() })
	if err != nil {
		ns.t.Fatalf("%s: %s: %v: %s", ns.Name, strings.Join(command, " "), err, out)
	}
	return string(out)
}

// Sysctl sets a variable of the namespace, named as below /proc/sys.
func (ns *Namespace) Sysctl(name, value string) {
	ns.t.Helper()
	var err error
	ns.Do(func() {
		err = os.WriteFile("/proc/sys/"+name, []byte(value), 0)
	})
	if err != nil {
		ns.t.Fatalf("%s: %v", ns.Name, err)
	}
}

// Connect joins two namespaces by a veth pair. Each end is given its address
// ("10.0.0.1/24") and set up.
func Connect(a *Namespace, deviceA, addressA string, b *Namespace, deviceB, addressB string) {
	a.t.Helper()
	a.Run("ip", "link", "add", deviceA, "type", "veth", "peer", "name", deviceB, "netns", b.Name)
	for _, end := range []struct {
		ns              *Namespace
		device, address string
	}{{a, deviceA, addressA}, {b, deviceB, addressB}} {
		end.ns.Run("ip", "addr", "add", end.address, "dev", end.device)
		end.ns.Run("ip", "link", "set", end.device, "up")
	}
}
