// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netns"

	"github.com/sfunnel-io/funnel-operator/internal/attach"
	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

// The tests of the binary run it as users do: static, in network namespaces, with
// few capabilities.

var build struct {
	once   sync.Once
	folder string
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if build.folder != "" {
		os.RemoveAll(build.folder)
	}
	os.Exit(code)
}

// binary builds the attacher as images contain it, once for all tests, and
// returns its path.
func binary(t testing.TB) string {
	t.Helper()
	build.once.Do(func() {
		if build.folder, build.err = os.MkdirTemp("", "attacher-test-"); build.err != nil { //nolint:usetesting // outlives the test that comes first
			return
		}
		c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(build.folder, "attacher"), ".")
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := c.CombinedOutput(); err != nil {
			build.err = fmt.Errorf("%w: %s", err, text)
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return filepath.Join(build.folder, "attacher")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sh runs a command line that must succeed and returns its output.
func sh(t testing.TB, line string, args ...any) string {
	t.Helper()
	text, err := exec.Command("sh", "-c", fmt.Sprintf(line, args...)).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", fmt.Sprintf(line, args...), err, text)
	}
	return string(text)
}

// host is a network namespace with an interface eth0.
type host struct {
	name, address string
}

// pair makes two hosts with one wire between them, 10.0.0.1 and 10.0.0.2.
func pair(t testing.TB) (client, server host) {
	t.Helper()
	c, s := testnet.NewNamespace(t, "client"), testnet.NewNamespace(t, "server")
	client, server = host{c.Name, "10.0.0.1"}, host{s.Name, "10.0.0.2"}
	testnet.Connect(c, "eth0", client.address+"/24", s, "eth0", server.address+"/24")
	return client, server
}

// inside runs f on a thread in the host's network namespace.
func (h host) inside(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock
		ns, err := netns.GetFromName(h.name)
		if err == nil {
			err = netns.Set(ns)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	must(t, <-done)
}

// attacher runs the binary in the host; env is "NAME=value" by spaces, a comma
// in a value stands for a space.
func (h host) attacher(t testing.TB, env string, args ...string) ran {
	t.Helper()
	return h.attacherWith(t, nil, env, args...)
}

// attacherWith runs the binary behind another command.
func (h host) attacherWith(t testing.TB, prefix []string, env string, args ...string) ran {
	t.Helper()
	line := append([]string{"netns", "exec", h.name}, prefix...)
	line = append(append(line, binary(t)), args...)
	var stdout, stderr bytes.Buffer
	c := exec.Command("ip", line...)
	c.Env = []string{"PATH=" + os.Getenv("PATH")}
	for _, v := range strings.Fields(env) {
		c.Env = append(c.Env, strings.ReplaceAll(v, ",", " "))
	}
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ran{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// programs lists the hooks of a host that have a program of ours.
func (h host) programs(t testing.TB) string {
	t.Helper()
	found, err := attach.List(attach.Where{Netns: h.name, Interfaces: []string{"eth0"}})
	must(t, err)
	var out []string
	for _, a := range found {
		if a.Name.Hook != attach.Segment {
			out = append(out, string(a.Name.Hook))
		}
	}
	return strings.Join(out, " ")
}

const (
	clientRules = "udp dport 2055 funnel tcp dport 179 sport 540\n"
	serverRules = "tcp dport 179 sport 540 unfunnel udp dport 2055\n"
)
