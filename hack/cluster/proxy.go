// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The modes of kube-proxy, each with a line that a node's rules have in that mode only.
var proxyModes = map[string]string{
	"iptables": ":KUBE-SERVICES ",
	"nftables": "table ip kube-proxy ",
}

// proxyConfigSuffix follows a node's name in the name of its kube-proxy's file.
const proxyConfigSuffix = ".kube-proxy.json"

func checkProxyMode(mode string) error {
	if proxyModes[mode] == "" {
		return fmt.Errorf("%q is no mode of kube-proxy: iptables or nftables", mode)
	}
	return nil
}

func (c *cluster) kubeProxy(number int) program {
	return c.kube("kube-proxy", "--config="+c.file(nodeName(number)+proxyConfigSuffix))
}

func (c *cluster) proxyConfig(name string) map[string]any {
	type object = map[string]any
	// Endpoints change often here and are few.
	often := object{"minSyncPeriod": "300ms"}
	return object{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode":             c.ProxyMode,
		"clientConnection": object{"kubeconfig": c.file("proxy.kubeconfig")},
		"hostnameOverride": name,
		"clusterCIDR":      c.each(func(f family) string { return f.pods.String() }),
		"iptables":         often,
		"nftables":         often,
		// These sysctls are the whole machine's, not ours.
		"conntrack": object{"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	}
}

// setProxyMode changes kube-proxy's mode on every node of the cluster in dir. It
// returns when the rules of the new mode are there, those of the other are gone, and
// the nodes have forgotten the connections that these had led somewhere: as after a
// reboot, which is how modes are changed elsewhere. A kube-proxy whose file changes
// ends, and its node starts it again.
func setProxyMode(ctx context.Context, dir, mode string) error {
	if err := checkProxyMode(mode); err != nil {
		return err
	}
	s, err := readState(dir)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, nodePrefix+"*"+proxyConfigSuffix))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := changeMode(file, mode); err != nil {
			return err
		}
	}
	for name := range s.Machines {
		if isNode(name) {
			if err := errors.Join(s.awaitMode(ctx, name, mode), s.forgetConnections(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func changeMode(file, mode string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	config := map[string]any{}
	if err := json.Unmarshal(content, &config); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if config["mode"] == mode {
		return nil
	}
	config["mode"] = mode
	return writeJSON(file, config)
}

func (s *state) awaitMode(ctx context.Context, node, mode string) error {
	for range 1000 {
		rules, err := s.rules(ctx, node)
		if err != nil {
			return err
		}
		if onlyMode(rules, mode) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s: kube-proxy does not come to mode %s; its log is in the cluster's folder", node, mode)
}

// onlyMode tells whether rules are those of kube-proxy in that mode, and in no other.
func onlyMode(rules, mode string) bool {
	for other, line := range proxyModes {
		if strings.Contains(rules, line) != (other == mode) {
			return false
		}
	}
	return true
}

// forgetConnections empties a node's connection tracking table.
func (s *state) forgetConnections(node string) error {
	namespace, err := netns.GetFromPid(s.Machines[node].Pid)
	if err != nil {
		return err
	}
	defer namespace.Close()
	handle, err := netlink.NewHandleAt(namespace, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer handle.Close()
	return handle.ConntrackTableFlush(netlink.ConntrackTable)
}

// rules lists a node's packet filter rules, whatever kube-proxy's mode.
func (s *state) rules(ctx context.Context, node string) (string, error) {
	const list = "nft list ruleset 2>/dev/null; iptables-save -t nat 2>/dev/null; ip6tables-save -t nat 2>/dev/null; true"
	line, err := s.inside(node, "sh", "-c", list)
	if err != nil {
		return "", err
	}
	rules, err := exec.CommandContext(ctx, line[0], line[1:]...).Output()
	if err != nil {
		return "", fmt.Errorf("%s: list rules: %w", node, err)
	}
	return string(rules), nil
}
