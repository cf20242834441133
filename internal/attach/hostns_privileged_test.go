// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

func TestANamespaceIsNotTheHostNetwork(t *testing.T) {
	newNamespace(t)
	if host, err := InHostNetwork(); host || err != nil {
		t.Errorf("in a new namespace: %v, %v", host, err)
	}
	if host, err := onlyHostHas("/proc/sys/net/core/"); host || err != nil {
		t.Errorf("by its settings: %v, %v", host, err)
	}
}

func TestTheFirstNamespaceIsTheHostNetwork(t *testing.T) {
	testnet.RequireRoot(t)
	var host bool
	err := inNamespace("/proc/self/ns/net", func() (err error) {
		host, err = onlyHostHas("/proc/sys/net/core/")
		byInode, errInode := InHostNetwork()
		if host != byInode || err != nil || errInode != nil {
			t.Errorf("by its settings: %v, %v; with the inode: %v, %v", host, err, byInode, errInode)
		}
		return nil
	})
	must(t, err)
	if !host {
		t.Skip("the tests do not run in the host's network namespace")
	}
}

func TestHostNetworkNeedsEverySign(t *testing.T) {
	folder := t.TempDir() + "/"
	for i, name := range hostOnly {
		if host, err := onlyHostHas(folder); host || err != nil {
			t.Errorf("%d signs: %v, %v", i, host, err)
		}
		must(t, os.WriteFile(filepath.Join(folder, name), nil, 0o600))
	}
	if host, err := onlyHostHas(folder); !host || err != nil {
		t.Errorf("all signs: %v, %v", host, err)
	}
	if _, err := onlyHostHas(folder + "absent/"); err == nil {
		t.Error("no settings at all: no error")
	}
}
