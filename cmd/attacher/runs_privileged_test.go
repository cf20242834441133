// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/report"
	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

func readReport(t *testing.T, path string) report.Report {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	r, err := report.Parse(string(text))
	must(t, err)
	return r
}

func TestAPodReportsWhatItAttached(t *testing.T) {
	client, _ := pair(t)
	log := filepath.Join(t.TempDir(), "report")
	root := tree(t, map[string]string{
		"exporter/settings": settingsOf("exporter", `,"priority":0,"interfaces":["eth0"],"mtu":"Warn"`), "exporter/egress.rules": clientRules,
		"web/settings": settingsOf("web", ""), "web/ingress.rules": "tcp dport 80 drop\ntcp dport 81 drop\n", "web/egress.rules": "",
	})
	sh(t, "ip -n %s route replace 10.0.0.0/24 dev eth0 mtu 1490", client.name)
	got := client.attacher(t, "SFUNNEL_POD=1 SFUNNEL_REPORT="+log+" SFUNNEL_REPORT_MAX=1024", "--rules", root)
	if got.code != exitDone || got.stdout != "eth0: 2 ingress and 1 egress rules attached\n" || !strings.Contains(got.stderr, "set a route MTU of 1480") {
		t.Errorf("got %v", got)
	}
	r := readReport(t, log)
	want := report.Interface{Name: "eth0", MTU: 1500, Overhead: 20, Headroom: 10, IngressRules: 2, EgressRules: 1}
	if !r.Runs("exporter", "sha256:exporter") || !r.Runs("web", "sha256:web") || len(r.Interfaces) != 1 ||
		fmt.Sprint(r.Interfaces[0]) != fmt.Sprint(want) || r.Kernel == "" || r.Error != "" {
		t.Errorf("report %+v", r)
	}
}

// TestAPodKeepsNoRulesOnOtherInterfaces: the folder is all that holds there. A flow of the
// interface that was taken away goes on.
func TestAPodKeepsNoRulesOnOtherInterfaces(t *testing.T) {
	client, server := inlineHosts(t)
	server.put(t, inlineServer, "", nil)
	sh(t, "ip -n %s link add net1 type veth peer name net1p", client.name)
	named := func(name, egress string) string {
		return tree(t, map[string]string{"web/settings": settingsOf("web", `,"interfaces":["`+name+`"]`), "web/egress.rules": egress})
	}
	log := filepath.Join(t.TempDir(), "report")
	run := func(root string, flags ...string) ran {
		return client.attacher(t, "SFUNNEL_POD=1 SFUNNEL_REPORT="+log, append([]string{"--rules", root}, flags...)...)
	}
	if got := run(named("eth0", inlineClient)); got.code != exitDone {
		t.Fatalf("got %v", got)
	}
	c := client.dial(t, server)
	got := run(named("net1", otherRule))
	want := "eth0: 0 ingress and 0 egress rules attached\nnet1: 0 ingress and 1 egress rules attached\n"
	if lines := strings.SplitAfter(got.stdout, "\n"); got.code != exitDone || len(lines) != 3 || lines[1]+lines[0] != want {
		t.Errorf("got %v", got)
	}
	if err := ask(c, "still there"); err != nil {
		t.Errorf("a flow of before: %v", err)
	}
	if r := readReport(t, log); !r.KeepsFlows || len(r.Interfaces) != 2 {
		t.Errorf("report %+v", r)
	}
	if got := run(named("net1", otherRule), "--drop-flows"); got.code != exitDone || client.programs(t) != "" {
		t.Errorf("flows given up: %v, left %q", got, client.programs(t))
	}
}

func TestAPodReservesRoom(t *testing.T) {
	client, _ := pair(t)
	log := filepath.Join(t.TempDir(), "report")
	root := tree(t, map[string]string{
		"exporter/settings": settingsOf("exporter", `,"mtu":"Reserve","flows":100`), "exporter/egress.rules": clientRules,
		"web/settings": settingsOf("web", `,"mtu":"Warn"`), "web/ingress.rules": serverRules,
	})
	got := client.attacher(t, "SFUNNEL_POD=1 SFUNNEL_REPORT="+log, "--rules", root)
	if got.code != exitDone || got.stderr != "" {
		t.Errorf("got %v", got)
	}
	if r := readReport(t, log); len(r.Interfaces) != 1 || r.Interfaces[0].Overhead > 20 || r.Interfaces[0].Headroom != 20 {
		t.Errorf("report %+v", r)
	}
}

func TestAPodWithoutRulesIsASuccess(t *testing.T) {
	client, _ := pair(t)
	log := filepath.Join(t.TempDir(), "report")
	root := tree(t, map[string]string{"web/settings": settingsOf("web", ""), "web/ingress.rules": "", "web/egress.rules": "# none yet\n"})
	if got := client.attacher(t, "SFUNNEL_POD=1 SFUNNEL_REPORT="+log, "--rules", root); got.code != exitDone {
		t.Errorf("got %v", got)
	}
	if r := readReport(t, log); !r.Runs("web", "sha256:web") {
		t.Errorf("report %+v", r)
	}
}

func TestFailuresAreReported(t *testing.T) {
	client, _ := pair(t)
	good := tree(t, map[string]string{"web/settings": settingsOf("web", ""), "web/ingress.rules": serverRules})
	bad := tree(t, map[string]string{"web/settings": settingsOf("web", ""), "web/ingress.rules": "tcp dport 80 frob\n"})
	for name, c := range map[string]struct {
		env  string
		args []string
		code int
		want string
	}{
		"bad rules":         {"", []string{"--rules", bad}, exitBadInput, bad + "/web/ingress.rules:1:14: "},
		"missing interface": {"IFACES=eth0,net7 N_ATTEMPTS=1", []string{"--rules", good}, exitFailed, "no interface net7 (there are: lo, eth0)"},
		"no rules":          {"", []string{"--rules", "/absent"}, exitBadInput, "no rules: /absent has neither"},
		"bad variable":      {"DIRECTION=up", []string{"--rules", good}, exitBadInput, `direction "up": want ingress, egress or both`},
		"bad flag":          {"", []string{"--frob"}, exitBadInput, "flag provided but not defined: -frob"},
		"another namespace": {"NETNS=other", []string{"--rules", good}, exitBadInput, "a pod attaches rules to its own network only"},
	} {
		log := filepath.Join(t.TempDir(), "report")
		got := client.attacher(t, c.env+" SFUNNEL_POD=1 SFUNNEL_REPORT="+log, c.args...)
		if got.code != c.code || !strings.Contains(got.stderr, c.want) || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%s: %v", name, got)
		}
		if r := readReport(t, log); r.Result != report.Failed || !strings.Contains(r.Error, c.want) {
			t.Errorf("%s: report %+v", name, r)
		}
	}
	if left := client.programs(t); left != "" {
		t.Errorf("left %s", left)
	}
}

// TestAPodInTheHostsNetworkIsRefused names an interface that no host has, so that
// nothing happens to this machine even if the refusal fails.
func TestAPodInTheHostsNetworkIsRefused(t *testing.T) {
	testnet.RequireRoot(t)
	if _, err := os.Stat("/proc/sys/net/core/netdev_budget"); err != nil {
		t.Skip("these tests do not run in the host's network")
	}
	root := tree(t, map[string]string{"web/settings": settingsOf("web", `,"interfaces":["sfunnel-absent"]`), "web/ingress.rules": serverRules})
	c := exec.Command(binary(t), "--rules", root, "--attempts", "1")
	c.Env = []string{"SFUNNEL_POD=1", "SFUNNEL_REPORT=" + filepath.Join(t.TempDir(), "report")}
	text, _ := c.CombinedOutput()
	if c.ProcessState.ExitCode() != exitFailed || !strings.Contains(string(text), "this pod shares its node's network (hostNetwork: true)") {
		t.Errorf("exit %d: %s", c.ProcessState.ExitCode(), text)
	}
}

// TestTheEarlierContainersVariablesWork runs what a manifest of that container
// has: one run per direction, and CLEAN, on an interface with a foreign filter.
func TestTheEarlierContainersVariablesWork(t *testing.T) {
	client, _ := pair(t)
	nowhere := []string{"--rules", "/absent"}
	sh(t, "tc -n %s qdisc add dev eth0 clsact && tc -n %s filter add dev eth0 ingress pref 7 bpf bytecode '1,6 0 0 0,'", client.name, client.name)
	for _, c := range []struct{ env, want string }{
		{"SFUNNEL_RULESET=ip,tcp,dport,179,sport,540,actions,unfunnel,udp", "ingress"},
		{"SFUNNEL_RULESET=ip,udp,dport,2055,actions,funnel,tcp,dport,179,sport,540 DIRECTION=egress IFACES=eth0", "ingress egress"},
		{"SFUNNEL_RULESET=udp,dport,53,drop DIRECTION=both DEBUG=1", "ingress egress"},
		{"CLEAN=1", "egress"},
		{"CLEAN=1 DIRECTION=both IFACES=eth0", ""},
	} {
		got := client.attacher(t, c.env, nowhere...)
		if hooks := client.programs(t); got.code != exitDone || hooks != c.want {
			t.Errorf("%s: %v\nprograms %q, want %q", c.env, got, hooks, c.want)
		}
	}
	if left := sh(t, "tc -n %s filter show dev eth0 ingress", client.name); !strings.Contains(left, "pref 7 bpf") {
		t.Errorf("the foreign filter is gone: %s", left)
	}
}
