// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The files that a machine inherits. The listener is there only if it forwards.
const (
	startFile    = 3
	readyFile    = 4
	lockFile     = 5 // held open: the cluster has the lock as long as a machine lives
	listenerFile = 6
)

// runMachine is the first process of a machine: it sets the machine up, starts its
// programs, keeps them running and reaps what is orphaned. It ends by being killed,
// and everything in the machine with it.
func runMachine(spec string) {
	for file := startFile; file <= listenerFile; file++ {
		unix.CloseOnExec(file)
	}
	ready := os.NewFile(readyFile, "ready")
	if n, err := os.NewFile(startFile, "start").Read(make([]byte, 1)); n != 1 || err != nil {
		return // whoever made us has gone
	}
	m, err := readMachine(spec)
	if err == nil {
		err = m.setUp()
	}
	if err != nil {
		fmt.Fprintln(ready, err)
		return
	}
	supervisor := supervisor{machine: m, running: map[int]program{}}
	for _, p := range m.Programs {
		supervisor.start(p)
	}
	ready.Close()
	supervisor.reap()
}

// setUp makes the machine look as described.
func (m *machine) setUp() error {
	output, err := os.OpenFile(filepath.Join(m.Logs, m.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	log.SetOutput(output)
	if err := unix.Sethostname([]byte(m.Name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := m.mount(); err != nil {
		return err
	}
	if err := m.configureNetwork(); err != nil {
		return err
	}
	for name, value := range m.Sysctls {
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0); err != nil {
			return fmt.Errorf("sysctl: %w", err)
		}
	}
	if m.Forward != "" {
		return m.forward()
	}
	return nil
}

// A supervisor starts programs and learns of their end, by the one call that also
// reaps what was orphaned.
type supervisor struct {
	*machine
	lock    sync.Mutex
	running map[int]program // by process number
}

// start starts a program with its output in its log. A program that can't be
// started is as one that ended at once.
func (s *supervisor) start(p program) {
	s.lock.Lock()
	defer s.lock.Unlock()
	pid, err := s.spawn(p)
	if err == nil {
		s.running[pid] = p
		err = os.WriteFile(pidFile(s.Files, s.Name, p.Name), []byte(strconv.Itoa(pid)), 0o644)
	}
	if err != nil {
		log.Printf("start %s: %v", p.Name, err)
	}
}

func (s *supervisor) spawn(p program) (int, error) {
	name := filepath.Join(s.Logs, s.Name+"-"+p.Name+".log")
	output, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer output.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	return syscall.ForkExec(p.Args[0], p.Args, &syscall.ProcAttr{
		Dir: "/", Env: append(p.Env[:len(p.Env):len(p.Env)], os.Environ()...), // the first of a name counts
		Files: []uintptr{null.Fd(), output.Fd(), output.Fd()},
	})
}

// reap waits for children for ever, and has programs that ended started again.
func (s *supervisor) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			time.Sleep(time.Second) // no child now; one may be adopted
			continue
		}
		if p, ours := s.ended(pid); ours {
			log.Printf("%s ended with status %d, signal %d; starting it again", p.Name, status.ExitStatus(), status.Signal())
			go s.startAgain(p)
		}
	}
}

// ended forgets the program that this process was, if it was one.
func (s *supervisor) ended(pid int) (p program, ours bool) {
	s.lock.Lock()
	defer s.lock.Unlock()
	p, ours = s.running[pid]
	delete(s.running, pid)
	return p, ours
}

// startAgain starts a program after a second, since the control plane's parts end when
// the API server is late; or when it may be there again.
func (s *supervisor) startAgain(p program) {
	time.Sleep(time.Second)
	for isAway(s.Files, s.Name, p.Name) {
		time.Sleep(100 * time.Millisecond)
	}
	s.start(p)
}

// mount gives the machine its own /proc, /sys and private directories, none of which
// the host sees.
func (m *machine) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// A fresh /sys shows this machine's interfaces, but no cgroups: they come back.
	restore, err := keepVisible(append(m.Keep, "/sys/fs/cgroup"), append(m.Private, "/sys"))
	if err != nil {
		return err
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("proc", "/proc", "proc", flags, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", flags, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	for _, dir := range m.Private {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount private %s: %w", dir, err)
		}
	}
	if err := restore(); err != nil {
		return err
	}
	// Volumes mounted by the kubelet must reach containers that run already.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	return nil
}

// keepVisible takes hold of those directories that the mounts to come would hide.
// The function it returns puts them back where they were.
func keepVisible(dirs, hiding []string) (restore func() error, err error) {
	held := map[string]int{}
	for _, dir := range dirs {
		if !belowAny(dir, hiding) {
			continue
		}
		held[dir], err = unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return nil, fmt.Errorf("hold %s: %w", dir, err)
		}
	}
	return func() error {
		for dir, fd := range held {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			if err := unix.MoveMount(fd, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
				return fmt.Errorf("put %s back: %w", dir, err)
			}
			unix.Close(fd)
		}
		return nil
	}, nil
}

func belowAny(path string, dirs []string) bool {
	for _, dir := range dirs {
		if strings.HasPrefix(path+"/", strings.TrimSuffix(dir, "/")+"/") {
			return true
		}
	}
	return false
}

// forward passes connections to the inherited listener, which is the host's, on to
// an address that only this machine can reach.
func (m *machine) forward() error {
	listener, err := net.FileListener(os.NewFile(listenerFile, "listener"))
	if err != nil {
		return fmt.Errorf("inherited listener: %w", err)
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				log.Printf("forwarding ends: %v", err)
				return
			}
			go splice(client, m.Forward)
		}
	}()
	return nil
}

// splice joins a connection to a new one to address, until both ends have said all.
func splice(client net.Conn, address string) {
	defer client.Close()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return // not up yet; the client will ask again
	}
	defer server.Close()
	done := make(chan struct{}, 2)
	pass := func(to, from net.Conn) {
		io.Copy(to, from)
		to.(*net.TCPConn).CloseWrite()
		done <- struct{}{}
	}
	go pass(server, client)
	go pass(client, server)
	<-done
	<-done
}
