// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/report"
	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

// capabilities is a command that leaves a process with nothing but these
// capabilities and no way to gain others, as an init container has them.
func capabilities(names string) []string {
	set := "-all"
	for _, n := range strings.Fields(names) {
		set += ",+" + n
	}
	return []string{"setpriv", "--no-new-privs", "--bounding-set", set, "--inh-caps", "-all"}
}

func TestThreeCapabilitiesSuffice(t *testing.T) {
	client, _ := pair(t)
	root := tree(t, map[string]string{"ingress.rules": serverRules, "egress.rules": clientRules})
	three := capabilities("bpf net_admin perfmon")
	for range 2 {
		if got := client.attacherWith(t, three, "", "--rules", root); got.code != exitDone {
			t.Fatalf("attach: %v", got)
		}
	}
	if got := client.programs(t); got != "ingress egress" {
		t.Errorf("attached: %s", got)
	}
	got := client.attacherWith(t, three, "", "show", "--rules", root)
	if got.code != exitDone || strings.Count(got.stdout, "\n") != 3 || !strings.Contains(got.stderr, "needs SYS_ADMIN") {
		t.Errorf("show: %v", got)
	}
	if got := client.attacherWith(t, three, "", "detach"); got.code != exitDone || client.programs(t) != "" {
		t.Errorf("detach: %v, left %s", got, client.programs(t))
	}
}

// TestReplacingInFrontOfOthersNeedsSysAdmin: without it there is no way that spares
// them, by tcx; a filter is replaced in any case.
func TestReplacingInFrontOfOthersNeedsSysAdmin(t *testing.T) {
	client, _ := pair(t)
	root := tree(t, map[string]string{"ingress.rules": serverRules})
	three := capabilities("bpf net_admin perfmon")
	if got := client.attacherWith(t, three, "", "--rules", root); got.code != exitDone {
		t.Fatalf("attach: %v", got)
	}
	filters := sh(t, "tc -n %s filter show dev eth0 ingress", client.name)
	sh(t, "tc -n %s qdisc replace dev eth0 clsact && tc -n %s filter add dev eth0 ingress pref 7 bpf bytecode '1,6 0 0 0,'", client.name, client.name)
	again := client.attacherWith(t, three, "", "--rules", root)
	switch {
	case filters != "":
		if again.code != exitDone {
			t.Errorf("by filter: %v", again)
		}
	case again.code != exitFailed || !strings.HasPrefix(again.stderr, "attacher: attach eth0: ingress: replacing our ingress program in front of others (bpf filter, priority 7") ||
		!strings.Contains(again.stderr, "needs SYS_ADMIN"):
		t.Errorf("by tcx: %v", again)
	}
	if got := client.programs(t); got != "ingress" {
		t.Errorf("attached: %s", got)
	}
	if got := client.attacherWith(t, capabilities("bpf net_admin perfmon sys_admin"), "", "--rules", root); got.code != exitDone {
		t.Errorf("with SYS_ADMIN: %v", got)
	}
	if got := client.attacherWith(t, three, "", "detach"); got.code != exitDone || client.programs(t) != "" {
		t.Errorf("detach: %v, left %s", got, client.programs(t))
	}
}

func TestAMissingCapabilityIsNamedInOneLine(t *testing.T) {
	client, _ := pair(t)
	root := tree(t, map[string]string{"ingress.rules": serverRules, "egress.rules": clientRules})
	for given, want := range map[string]string{
		"net_admin perfmon": "CAP_BPF",
		"bpf perfmon":       "CAP_NET_ADMIN",
		"bpf net_admin":     "CAP_PERFMON",
		"":                  "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON",
	} {
		log := filepath.Join(t.TempDir(), "report")
		got := client.attacherWith(t, capabilities(given), "SFUNNEL_REPORT="+log, "--rules", root)
		if got.code != exitFailed || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "missing "+want+":") {
			t.Errorf("with %q: %v", given, got)
		}
		if r := readReport(t, log); r.Result != report.Failed || !strings.Contains(r.Error, "missing "+want+":") {
			t.Errorf("with %q: report %+v", given, r)
		}
		if left := client.programs(t); left != "" {
			t.Errorf("with %q: left %s", given, left)
		}
	}
}

// inScratch is a command that runs the binary as the only file of a container:
// an empty root that can't be written to, /proc, /sys and the rules.
func inScratch(t *testing.T, h host, rulesFolder string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	for _, folder := range []string{"proc", "sys", "etc/sfunnel"} {
		must(t, os.MkdirAll(filepath.Join(root, folder), 0o755))
	}
	sh(t, "cp %s %s/attacher && cp -r %s/. %s/etc/sfunnel", binary(t), root, rulesFolder, root)
	return fmt.Sprintf("ip netns exec %s unshare --mount sh -c 'mount --bind %s %s && cd %s && mount --rbind /sys sys && mount -t proc proc proc "+
		"&& mount -o remount,bind,ro . && exec %s chroot . /attacher'",
		h.name, root, root, root, strings.Join(capabilities("bpf net_admin perfmon sys_chroot"), " "))
}

func TestItRunsFromScratch(t *testing.T) {
	client, _ := pair(t)
	root := tree(t, map[string]string{"web/settings": settingsOf("web", ""), "web/ingress.rules": serverRules, "web/egress.rules": clientRules})
	got := sh(t, "SFUNNEL_POD=1 SFUNNEL_REPORT=/proc/self/fd/1 %s", inScratch(t, client, root))
	if !strings.Contains(got, "eth0: 1 ingress and 1 egress rules attached") || !strings.Contains(got, `"result":"attached"`) {
		t.Errorf("got %s", got)
	}
	if got := client.programs(t); got != "ingress egress" {
		t.Errorf("attached: %s", got)
	}
}

func TestAUserNamespaceIsNamed(t *testing.T) {
	testnet.RequireRoot(t)
	root := tree(t, map[string]string{"ingress.rules": serverRules})
	line := fmt.Sprintf("ip link add eth0 type veth peer name eth0p; %s --rules %s --interface eth0; echo exit $?; tc filter show dev eth0 ingress", binary(t), root)
	got := sh(t, "unshare --user --map-root-user --net sh -c '%s'", line)
	if !strings.Contains(got, "user namespace") || !strings.HasSuffix(got, "exit 1\n") || strings.Count(got, "\n") != 2 {
		t.Errorf("got %s", got)
	}
}
