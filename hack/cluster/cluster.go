// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A cluster is what the parts of this program need to know of the one they make.
type cluster struct {
	Config
	dir        string // this cluster's files
	cache      string
	kubernetes string // directory of the combined Kubernetes binary
	packages   string // directory of the unpacked Debian packages
	families   []family
	journal    journal
	log        io.Writer
}

// The journal of a cluster, and the processes that its machines are.
const (
	journalName = "journal"
	stateName   = "machines.json"
)

// Up starts a cluster and returns when its nodes are ready and have the images. The
// lock is the machine's, which the cluster keeps as long as it lives. What a cluster of
// that name left behind goes first. When Up fails or is interrupted it takes everything
// back, and says what the logs say.
func Up(ctx context.Context, lock *os.File, dir string, cfg Config, log io.Writer) error {
	if err := cfg.check(); err != nil {
		return err
	}
	if err := Down(dir); err != nil {
		return fmt.Errorf("take away what was left: %w", err)
	}
	c := &cluster{Config: cfg, dir: dir, cache: filepath.Dir(dir), journal: journal(filepath.Join(dir, journalName)), log: log}
	if err := c.up(ctx, lock); err != nil {
		c.showLogs()
		return errors.Join(err, Down(dir))
	}
	return nil
}

// Down takes away the cluster whose files are in dir, running or not. Its logs stay.
func Down(dir string) error {
	if err := journal(filepath.Join(dir, journalName)).undo(); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		if entry.Name() != "logs" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
		}
	}
	return err
}

func (c *cluster) up(ctx context.Context, lock *os.File) error {
	if err := c.prepare(ctx); err != nil {
		return err
	}
	// The host's way in: a port of its loopback, served inside the control machine.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	door, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer door.Close()
	if err := c.writeFiles(listener.Addr().String()); err != nil {
		return err
	}
	if err := c.changeHost(); err != nil {
		return err
	}
	fmt.Fprintf(c.log, "starting a control plane and %d nodes …\n", c.Nodes)
	machines, err := c.startMachines(lock, door)
	if err != nil {
		return err
	}
	return c.waitReady(ctx, machines)
}

// prepare finds or fetches what is needed.
func (c *cluster) prepare(ctx context.Context) (err error) {
	if c.families, err = c.plan(); err != nil {
		return err
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(c.dir, "logs"), 0o755); err != nil {
		return err
	}
	if c.kubernetes, err = buildKubernetes(ctx, c.log); err != nil {
		return err
	}
	c.packages, err = packages(ctx, c.cache, c.log)
	return err
}

// buildKubernetes returns the directory of the combined binary, built if need be.
func buildKubernetes(ctx context.Context, log io.Writer) (string, error) {
	cmd := exec.CommandContext(ctx, "hack/kube/build.sh")
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) } // it cleans up, and ends its compiler
	cmd.WaitDelay = 10 * time.Second
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("hack/kube/build.sh (run this from the top of the checkout): %w", err)
	}
	return strings.TrimSpace(string(output)), nil
}

func (c *cluster) writeFiles(hostPort string) error {
	if err := c.issueCertificates(hostPort); err != nil {
		return err
	}
	for number := 1; number <= c.Nodes; number++ {
		if err := c.writeNodeConfig(number); err != nil {
			return err
		}
	}
	return nil
}

// changeHost does what has to be done outside the namespaces.
func (c *cluster) changeHost() error {
	loadModules()
	for _, path := range nodeSysctls {
		if err := c.journal.remember(path); err != nil {
			return err
		}
	}
	return makeCgroups(c.journal, c.Name, c.nodeNames())
}

// loadModules loads the modules that nodes use and can't load from inside; they stay.
// Where they are built in, or can't be loaded, nothing happens: what needs them says
// so. The host's own bridges must not notice: with br_netfilter their traffic would
// begin to pass iptables.
func loadModules() {
	const bridge = "/proc/sys/net/bridge"
	_, err := os.Stat(bridge)
	for _, module := range []string{"br_netfilter", "overlay", "nf_conntrack"} {
		_ = exec.Command("modprobe", "-q", module).Run()
	}
	if err == nil {
		return
	}
	for _, family := range []string{"ip", "ip6", "arp"} {
		_ = os.WriteFile(filepath.Join(bridge, "bridge-nf-call-"+family+"tables"), []byte("0"), 0)
	}
}

// startMachines makes all machines, wires them and lets them run.
func (c *cluster) startMachines(lock, door *os.File) (map[string]*starting, error) {
	t := c.topology()
	machines := map[string]*starting{}
	for _, m := range t.machines {
		started, err := newMachine(c.dir, m, lock, door)
		if err != nil {
			return nil, err
		}
		machines[m.Name] = started
		if err := c.journal.add(change{Process: started.process}); err != nil {
			return nil, err
		}
	}
	for _, w := range t.wires {
		if err := w.connect(machines); err != nil {
			return nil, err
		}
	}
	for _, m := range t.machines {
		if err := machines[m.Name].run(); err != nil {
			return nil, err
		}
	}
	return machines, c.writeState(machines)
}

// A state is what later commands know of a cluster that is up.
type state struct {
	Packages string
	Machines map[string]*process
}

func (c *cluster) writeState(machines map[string]*starting) error {
	s := state{Packages: c.packages, Machines: map[string]*process{}}
	for name, m := range machines {
		s.Machines[name] = m.process
	}
	return writeJSON(c.file(stateName), s)
}

func readState(dir string) (*state, error) {
	content, err := os.ReadFile(filepath.Join(dir, stateName))
	if err != nil {
		return nil, fmt.Errorf("no cluster of that name is up: %w", err)
	}
	s := new(state)
	return s, json.Unmarshal(content, s)
}

func (c *cluster) file(name string) string { return filepath.Join(c.dir, name) }

// waitReady loads the images while the control plane starts, and waits for the
// nodes. How long that takes depends on what else runs here, so that its limits are wide.
func (c *cluster) waitReady(ctx context.Context, machines map[string]*starting) error {
	if err := loadImages(ctx, c.dir, c.Images); err != nil {
		return err
	}
	var nodes []string
	for _, name := range c.nodeNames() {
		nodes = append(nodes, "node/"+name)
	}
	for _, wait := range [][]string{
		append([]string{"--for=create"}, nodes...),
		append([]string{"--for=condition=Ready"}, nodes...),
		{"--for=create", "serviceaccount/default"}, // pods need it
	} {
		if err := c.wait(ctx, wait, machines); err != nil {
			return err
		}
	}
	return nil
}

// wait runs kubectl wait again until it succeeds, 600 times: for five minutes while the
// API server is not up, when it fails at once, and for ten hours once it answers.
func (c *cluster) wait(ctx context.Context, args []string, machines map[string]*starting) error {
	args = append([]string{"--kubeconfig", c.file("admin.kubeconfig"), "wait", "--timeout=60s"}, args...)
	var last string
	for range 600 {
		output, err := exec.CommandContext(ctx, filepath.Join(c.kubernetes, "kubectl"), args...).CombinedOutput()
		if err == nil {
			return nil
		}
		last = strings.TrimSpace(string(output))
		for name, m := range machines {
			if !m.alive() {
				return fmt.Errorf("%s has ended", name)
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(500 * time.Millisecond):
		}
	}
	return fmt.Errorf("kubectl %s: %s", strings.Join(args[2:], " "), last)
}

// showLogs prints the end of each log, for someone who can't come and look.
func (c *cluster) showLogs() {
	logs, _ := filepath.Glob(c.file("logs/*.log"))
	for _, log := range logs {
		content, err := os.ReadFile(log)
		if err != nil || len(content) == 0 {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(content)), "\n")
		fmt.Fprintf(c.log, "==== %s\n%s\n", filepath.Base(log), strings.Join(lines[max(0, len(lines)-8):], "\n"))
	}
}
