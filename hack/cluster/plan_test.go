// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestAddresses(t *testing.T) {
	four, six := families["4"], families["6"]
	for _, address := range []struct {
		what string
		got  any
		want string
	}{
		{"control plane", four.control(), "10.90.0.1"},
		{"third node", four.node(3), "10.90.0.13"},
		{"its pods", four.podRange(3), "10.91.3.0/24"},
		{"API Service", four.apiService(), "10.92.0.1"},
		{"gateway", four.gatewayAddress(), "10.95.0.2"},
		{"its router", four.gatewayRouter(), "10.95.0.1"},
		{"client outside", four.outsideClient(7), "10.93.0.7"},
		{"default route", four.everywhere(), "0.0.0.0/0"},
		{"third node, IPv6", six.node(3), "fd90::d"},
		{"its pods, IPv6", six.podRange(3), "fd91:0:0:3::/64"},
		{"API Service, IPv6", six.apiService(), "fd92::1"},
		{"default route, IPv6", six.everywhere(), "::/0"},
	} {
		if got := address.got.(interface{ String() string }).String(); got != address.want {
			t.Errorf("%s is %s, want %s", address.what, got, address.want)
		}
	}
}

func TestFamiliesDoNotOverlap(t *testing.T) {
	for version, f := range families {
		all := []netip.Prefix{f.nodes, f.pods, f.services, f.outside, f.gateway, f.balancers}
		for i, a := range all {
			for _, b := range all[i+1:] {
				if a.Overlaps(b) {
					t.Errorf("IPv%s: %s and %s overlap", version, a, b)
				}
			}
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Name: "demo", Nodes: 2, ProxyMode: "nftables", Families: "4,6", Outside: 1}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for what, spoil := range map[string]func(*Config){
		"no node":        func(c *Config) { c.Nodes = 0 },
		"proxy mode":     func(c *Config) { c.ProxyMode = "ipvs" },
		"unknown family": func(c *Config) { c.Families = "4,5" },
		"no client":      func(c *Config) { c.Outside = 0 },
	} {
		bad := good
		spoil(&bad)
		if bad.check() == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// Every wire's ends are interfaces that their machines configure.
func TestTopologyIsWired(t *testing.T) {
	c := mustPlan(t, Config{Name: "demo", Nodes: 3, ProxyMode: "nftables", Families: "4,6", Outside: 2})
	configured := map[[2]string]bool{}
	top := c.topology()
	for _, m := range top.machines {
		for _, i := range m.Interfaces {
			configured[[2]string{m.Name, i.Name}] = true
			for _, port := range i.Ports {
				configured[[2]string{m.Name, port}] = true
			}
		}
	}
	for _, w := range top.wires {
		for _, end := range [][2]string{{w.machine, w.name}, {w.peer, w.peerName}} {
			if !configured[end] {
				t.Errorf("%s has no interface %s", end[0], end[1])
			}
		}
	}
}

func TestCertificatesAreTrusted(t *testing.T) {
	c := mustPlan(t, Config{Name: "demo", Nodes: 1, ProxyMode: "nftables", Families: "4,6", Outside: 1})
	if err := c.issueCertificates("127.0.0.1:6443"); err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(c.file("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	for name, host := range map[string]string{
		"apiserver": "10.92.0.1", "node-1": "", "admin": "", "proxy": "",
	} {
		pair, err := tls.LoadX509KeyPair(c.file(name+".crt"), c.file(name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		options := x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		if _, err := pair.Leaf.Verify(options); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if info, err := os.Stat(c.file("admin.kubeconfig")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("admin.kubeconfig: %v, mode %v; want mode 600", err, info.Mode())
	}
}

func mustPlan(t *testing.T, cfg Config) *cluster {
	t.Helper()
	dir := t.TempDir()
	c := &cluster{Config: cfg, dir: dir, cache: filepath.Dir(dir)}
	var err error
	if c.families, err = cfg.plan(); err != nil {
		t.Fatal(err)
	}
	return c
}
