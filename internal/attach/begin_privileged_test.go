// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/internal/datapath"
	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

const (
	inlineClient = "tcp dport 8080 funnel tcp dport 179 inline"
	inlineServer = "tcp dport 179 unfunnel tcp inline dport 8080"
)

// TestConnectionsBeginWhileRulesAreReplaced connects all the time, in both families, while
// the rules of both sides are replaced, those of the client also by such that funnel nothing.
// Every connection must be answered, and those that were there before as well.
func TestConnectionsBeginWhileRulesAreReplaced(t *testing.T) {
	const other = "udp dport 53 drop; "
	variants := []struct{ client, server string }{
		{inlineClient, inlineServer}, {other + inlineClient, other + inlineServer}, {other, inlineServer},
	}
	replacements := 24
	if testing.Short() {
		replacements = len(variants)
	}
	bothWays(t, func(t *testing.T) {
		client, server := testnet.NewNamespace(t, "client"), testnet.NewNamespace(t, "server")
		testnet.Connect(client, "eth0", "10.0.0.1/24", server, "eth0", "10.0.0.2/24")
		client.Run("ip", "addr", "add", "fd00::1/64", "dev", "eth0", "nodad")
		server.Run("ip", "addr", "add", "fd00::2/64", "dev", "eth0", "nodad")
		echo(t, server, "8080")
		replace := func(ns *testnet.Namespace, ingress, egress string) Attached {
			t.Helper()
			o := options(t, ingress, egress, "eth0")
			o.Netns = ns.Name
			return mustAttach(t, o)[0]
		}
		replace(server, inlineServer, "")
		replace(client, "", inlineClient)
		callers := []*caller{{to: "10.0.0.2:8080"}, {to: "[fd00::2]:8080"}, {to: "10.0.0.2:8080"}, {to: "[fd00::2]:8080"}}
		var calling sync.WaitGroup
		defer calling.Wait()
		stop := make(chan struct{})
		defer close(stop)
		for _, c := range callers {
			must(t, c.open(client))
			calling.Go(func() { client.Do(func() { c.call(stop) }) })
		}
		for i := range replacements {
			v := variants[(i+1)%len(variants)]
			nothingDropped(t, client)
			nothingDropped(t, server)
			if got := replace(client, "", v.client); !got.KeptFlows {
				t.Errorf("client: %+v", got)
			}
			if got := replace(server, v.server, ""); !got.KeptFlows {
				t.Errorf("server: %+v", got)
			}
			for _, c := range callers {
				c.goesOn(t)
			}
		}
		nothingDropped(t, client)
		nothingDropped(t, server)
		for _, c := range callers {
			t.Logf("%s: %d connections", c.to, c.begun.Load())
		}
	})
}

// caller has a connection that stays, and one after the other that does not.
type caller struct {
	to    string
	stays net.Conn
	begun atomic.Uint64
	err   atomic.Pointer[error]
}

func (c *caller) open(ns *testnet.Namespace) (err error) {
	ns.Do(func() { c.stays, err = net.DialTimeout("tcp", c.to, 20*time.Second) })
	if err == nil {
		err = echoed(c.stays)
	}
	return err
}

// call connects and talks until it is told to stop, or fails.
func (c *caller) call(stop chan struct{}) {
	defer c.stays.Close()
	for {
		select {
		case <-stop:
			return
		case <-time.After(2 * time.Millisecond): // so that the flow table does not fill
		}
		if err := c.once(); err != nil {
			c.err.Store(&err)
			return
		}
		c.begun.Add(1)
	}
}

func (c *caller) once() error {
	conn, err := net.DialTimeout("tcp", c.to, 20*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := echoed(conn); err != nil {
		return fmt.Errorf("a new connection from %v: %w", conn.LocalAddr(), err)
	}
	if err := echoed(c.stays); err != nil {
		return fmt.Errorf("the connection of before, from %v: %w", c.stays.LocalAddr(), err)
	}
	return nil
}

// goesOn waits until a connection that the caller begins from now on has ended.
func (c *caller) goesOn(t *testing.T) {
	t.Helper()
	before, deadline := c.begun.Load(), time.Now().Add(time.Minute)
	for c.begun.Load() < before+2 && c.err.Load() == nil && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if err := c.err.Load(); err != nil {
		t.Fatalf("%s, connection %d: %v", c.to, c.begun.Load(), *err)
	}
	if c.begun.Load() < before+2 {
		t.Fatalf("%s: no connection within a minute", c.to)
	}
}

// echo returns what connections to a port send.
func echo(t *testing.T, ns *testnet.Namespace, port string) {
	t.Helper()
	var l net.Listener
	var err error
	ns.Do(func() { l, err = net.Listen("tcp", ":"+port) })
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			go func() {
				_, _ = io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
}

// echoed sends something and waits for it.
func echoed(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if string(got) != "hello" {
		return fmt.Errorf("got %q back", got)
	}
	return nil
}

// nothingDropped fails when the programs in a namespace dropped a packet, or made one a reset.
func nothingDropped(t *testing.T, ns *testnet.Namespace) {
	t.Helper()
	found, err := List(Where{Netns: ns.Name})
	must(t, err)
	if len(found) != 2 {
		t.Errorf("%s has %+v", ns.Name, found)
	}
	for _, a := range found {
		counters, err := datapath.AttachedCounters(ebpf.ProgramID(a.Program))
		must(t, err)
		for reason, packets := range counters.Reasons {
			if reason.Drops() || reason == datapath.MarkerMissing {
				t.Errorf("%s, %s: %d packets %v", ns.Name, a.Name.Hook, packets, reason)
			}
		}
	}
}
