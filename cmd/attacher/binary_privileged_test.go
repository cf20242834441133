// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/sfunnel-io/funnel-operator/internal/report"
)

// These tests run the binary as users do: static, in network namespaces, with
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
		if build.folder, build.err = os.MkdirTemp("", "attacher-test-"); build.err != nil {
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

func requireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" || os.Getenv("FUNNEL_REQUIRE_ROOT") == "1" {
		t.Fatal("needs root")
	}
	t.Skip("needs root: network namespaces and BPF")
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
	requireRoot(t)
	client = host{fmt.Sprintf("attach-%d-c", os.Getpid()), "10.0.0.1"}
	server = host{fmt.Sprintf("attach-%d-s", os.Getpid()), "10.0.0.2"}
	for _, h := range []host{client, server} {
		sh(t, "ip netns add %s", h.name)
		t.Cleanup(func() { sh(t, "ip netns del %s", h.name) })
	}
	sh(t, "ip -n %s link add eth0 type veth peer name eth0 netns %s", client.name, server.name)
	for _, h := range []host{client, server} {
		sh(t, "ip -n %s link set lo up && ip -n %s addr add %s/24 dev eth0 && ip -n %s link set eth0 up", h.name, h.name, h.address, h.name)
	}
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

// filters lists the names of our filters on a host's hooks.
func (h host) filters(t testing.TB) string {
	t.Helper()
	var out []string
	for _, direction := range []string{"ingress", "egress"} {
		for _, line := range strings.Split(sh(t, "tc -n %s filter show dev eth0 %s", h.name, direction), "\n") {
			if _, name, ok := strings.Cut(line, " sfunnel/"); ok {
				out = append(out, name[:strings.Index(name, "/")])
			}
		}
	}
	return strings.Join(out, " ")
}

const (
	clientRules = "udp dport 2055 funnel tcp dport 179 sport 540\n"
	serverRules = "tcp dport 179 sport 540 unfunnel udp dport 2055\n"
)

func TestTheBinaryIsStatic(t *testing.T) {
	file, err := elf.Open(binary(t))
	must(t, err)
	defer file.Close()
	libraries, err := file.ImportedLibraries()
	if err != nil || len(libraries) > 0 {
		t.Errorf("needs %v, %v", libraries, err)
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("needs a dynamic linker")
		}
	}
}

func TestAUDPFlowTravelsAsTCPAndArrivesAsItWas(t *testing.T) {
	client, server := pair(t)
	for h, files := range map[host]map[string]string{
		client: {"exporter/settings": settingsOf("exporter", ""), "exporter/egress.rules": clientRules},
		server: {"ruleset": serverRules},
	} {
		if got := h.attacher(t, "", "--rules", tree(t, files)); got.code != exitDone {
			t.Fatalf("%s: %v", h.name, got)
		}
	}
	var sender, receiver *net.UDPConn
	server.inside(t, func() (err error) {
		receiver, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(server.address), Port: 2055})
		return err
	})
	defer receiver.Close()
	client.inside(t, func() (err error) {
		sender, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP(server.address), Port: 2055})
		return err
	})
	defer sender.Close()
	buffer := make([]byte, 2000)
	sizes := []int{0, 1, 2, 3, 11, 64, 511, 512, 1400, 1451, 1452}
	for _, size := range sizes {
		want := bytes.Repeat([]byte{byte(size), 0xff, 0x00}, size/3+1)[:size]
		_, err := sender.Write(want)
		must(t, err)
		must(t, receiver.SetReadDeadline(time.Now().Add(10*time.Second)))
		n, from, err := receiver.ReadFromUDP(buffer)
		if err != nil || !bytes.Equal(buffer[:n], want) || from.String() != sender.LocalAddr().String() {
			t.Fatalf("%d bytes: received %d from %v, %v", size, n, from, err)
		}
	}
	for h, want := range map[host]string{client: "funneled", server: "unfunneled"} {
		if got := h.counted(t, want); got != uint64(len(sizes)) {
			t.Errorf("%s: %d packets %s, want %d", h.name, got, want, len(sizes))
		}
	}
}

// counted returns how many packets show counts under a reason.
func (h host) counted(t *testing.T, reason string) uint64 {
	t.Helper()
	out := h.attacher(t, "", "show", "-o", "json")
	var programs []shown
	if err := json.Unmarshal([]byte(out.stdout), &programs); err != nil {
		t.Fatalf("%v: %v", err, out)
	}
	n := uint64(0)
	for _, p := range programs {
		for _, r := range p.Reasons {
			if r.Reason == reason {
				n += r.Packets
			}
		}
	}
	return n
}

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
	if got := client.filters(t); got != "ingress egress" {
		t.Errorf("attached: %s", got)
	}
	got := client.attacherWith(t, three, "", "show", "--rules", root)
	if got.code != exitDone || strings.Count(got.stdout, "\n") != 3 || !strings.Contains(got.stderr, "needs SYS_ADMIN") {
		t.Errorf("show: %v", got)
	}
	if got := client.attacherWith(t, three, "", "detach"); got.code != exitDone || client.filters(t) != "" {
		t.Errorf("detach: %v, left %s", got, client.filters(t))
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
		if left := client.filters(t); left != "" {
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
	if got := client.filters(t); got != "ingress egress" {
		t.Errorf("attached: %s", got)
	}
}

func TestAUserNamespaceIsNamed(t *testing.T) {
	requireRoot(t)
	root := tree(t, map[string]string{"ingress.rules": serverRules})
	line := fmt.Sprintf("ip link add eth0 type veth peer name eth0p; %s --rules %s --interface eth0; echo exit $?; tc filter show dev eth0 ingress", binary(t), root)
	got := sh(t, "unshare --user --map-root-user --net sh -c '%s'", line)
	if !strings.Contains(got, "user namespace") || !strings.HasSuffix(got, "exit 1\n") || strings.Count(got, "\n") != 2 {
		t.Errorf("got %s", got)
	}
}

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
	if left := client.filters(t); left != "" {
		t.Errorf("left %s", left)
	}
}

// TestAPodInTheHostsNetworkIsRefused names an interface that no host has, so that
// nothing happens to this machine even if the refusal fails.
func TestAPodInTheHostsNetworkIsRefused(t *testing.T) {
	requireRoot(t)
	if _, err := os.Stat("/proc/sys/net/core/netdev_budget"); err != nil {
		t.Log("these tests do not run in the host's network: nothing proved")
		return
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
		if filters := client.filters(t); got.code != exitDone || filters != c.want {
			t.Errorf("%s: %v\nfilters %q, want %q", c.env, got, filters, c.want)
		}
	}
	if left := sh(t, "tc -n %s filter show dev eth0 ingress", client.name); !strings.Contains(left, "pref 7 bpf") {
		t.Errorf("the foreign filter is gone: %s", left)
	}
}
