// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// A machine describes one process with namespaces of its own: what it looks like
// from inside and what runs in it.
type machine struct {
	Name       string
	Interfaces []networkInterface
	Routes     []route
	Sysctls    map[string]string // by path below /proc/sys
	Private    []string          // host directories that are empty and the machine's own inside it
	Keep       []string          // host directories that stay visible even below a private one
	Programs   []program         // kept running: started again a second after they end
	Forward    string            // where connections to the inherited listener go
	Logs       string            // directory for NAME.log and NAME-PROGRAM.log
	Files      string            // directory for what others ask about programs: see outage.go
}

// A networkInterface is one end of a wire, or a bridge when it has ports.
type networkInterface struct {
	Name      string
	Ports     []string
	Addresses []netip.Prefix
}

// A route with several next hops spreads flows over them by source and destination
// address, as a load balancer does that hashes no ports.
type route struct {
	To  netip.Prefix
	Via []netip.Addr
}

type program struct {
	Name string
	Args []string // Args[0] is the path of the executable
	Env  []string
}

// A wire joins an interface of one machine to one of another.
type wire struct{ machine, name, peer, peerName string }

// machineCommand is the argument with which this program becomes a machine.
const machineCommand = "be-machine"

// A starting machine exists, with empty namespaces, and waits for its wires.
type starting struct {
	*process
	name  string
	start *os.File // a byte starts it; closed without, it ends
	ready *os.File // says what went wrong, or is closed without a word
}

// newMachine makes the namespaces and the process that holds them. The files in
// extra are inherited; the machine ends unless it is started.
func newMachine(dir string, m machine, extra ...*os.File) (*starting, error) {
	spec := filepath.Join(dir, m.Name+".machine.json")
	if err := writeJSON(spec, m); err != nil {
		return nil, err
	}
	startRead, start, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ready, readyWrite, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, startRead.Close(), start.Close())
	}
	defer startRead.Close()
	defer readyWrite.Close()

	cmd := exec.Command("/proc/self/exe", machineCommand, spec)
	cmd.Dir, cmd.Env = "/", os.Environ()
	cmd.ExtraFiles = append([]*os.File{startRead, readyWrite}, extra...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, // Ctrl-C in the terminal is for the one who started us
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", m.Name, err), start.Close(), ready.Close())
	}
	go cmd.Wait() // so that it does not stay a zombie while we run
	running, err := thisProcess(cmd.Process.Pid)
	if err != nil {
		return nil, errors.Join(err, start.Close(), ready.Close())
	}
	return &starting{process: running, name: m.Name, start: start, ready: ready}, nil
}

// run lets the machine set itself up and returns when its programs are started.
func (s *starting) run() error {
	defer s.ready.Close()
	if _, err := s.start.Write([]byte{1}); err != nil {
		return errors.Join(fmt.Errorf("%s has ended: %w", s.name, err), s.start.Close())
	}
	if err := s.start.Close(); err != nil {
		return err
	}
	failure, err := io.ReadAll(s.ready)
	if err != nil {
		return err
	}
	if len(failure) > 0 {
		return fmt.Errorf("%s: %s", s.name, strings.TrimSpace(string(failure)))
	}
	return nil
}

// connect makes the wire, without any part of it ever being on the host.
func (w wire) connect(machines map[string]*starting) error {
	home, err := netns.GetFromPid(machines[w.machine].Pid)
	if err != nil {
		return err
	}
	defer home.Close()
	handle, err := netlink.NewHandleAt(home)
	if err != nil {
		return err
	}
	defer handle.Close()
	attributes := netlink.NewLinkAttrs()
	attributes.Name = w.name
	veth := netlink.NewVeth(attributes)
	veth.PeerName, veth.PeerNamespace = w.peerName, netlink.NsPid(machines[w.peer].Pid)
	if err := handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("wire %s %s to %s %s: %w", w.machine, w.name, w.peer, w.peerName, err)
	}
	return nil
}

func readMachine(spec string) (*machine, error) {
	content, err := os.ReadFile(spec)
	if err != nil {
		return nil, err
	}
	m := new(machine)
	return m, json.Unmarshal(content, m)
}
