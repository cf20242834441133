// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// Both directions of a TCP connection through TCP, with rules for the replies.
const (
	tcpThroughTCP   = "ip daddr 10.96.0.10 tcp dport 8080 funnel tcp dport 179 sport 540"
	tcpFromTCP      = "tcp dport 1179 sport 540 unfunnel tcp dport 8080"
	replyThroughTCP = "tcp sport 8080 funnel tcp dport 540 sport 1179"
	replyFromTCP    = "tcp sport 179 dport 540 unfunnel tcp"
)

func (s *site) listenTCP(ns *testnet.Namespace, port uint16) net.Listener {
	s.Helper()
	var l net.Listener
	var err error
	ns.Do(func() { l, err = net.Listen("tcp", netip.AddrPortFrom(netip.IPv6Unspecified(), port).String()) })
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { l.Close() })
	return l
}

func (s *site) dialTCP(ns *testnet.Namespace, to netip.AddrPort) *net.TCPConn {
	s.Helper()
	var conn *net.TCPConn
	var err error
	ns.Do(func() { conn, err = net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to)) })
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn
}

// echo returns what each connection sends, until it ends.
func echo(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			io.Copy(conn, conn)
			conn.Close()
		}()
	}
}

func TestSmallRequestsOverTCP(t *testing.T) {
	s := newSite(t)
	s.funnel(s.client, "eth0", replyFromTCP, tcpThroughTCP)
	s.funnel(s.server, "eth0", tcpFromTCP, replyThroughTCP)
	go echo(s.listenTCP(s.server, 8080))
	for i := range 30 {
		conn := s.dialTCP(s.client, netip.AddrPortFrom(serviceAddr, 8080))
		request := numbered(i, 100+i*40)
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		conn.CloseWrite()
		answer, err := io.ReadAll(conn)
		if err != nil || !bytes.Equal(answer, request) {
			t.Fatalf("request %d: %d octets came back, %v", i, len(answer), err)
		}
	}
	if n := s.pushedFrames(wire.TCP, wire.TCP); n < 30*4 {
		t.Errorf("%d pushed packets arrived", n)
	}
	if n := s.invalid(); n != 0 {
		t.Errorf("the router dropped %d packets as invalid", n)
	}
}

// TestBulkOverTCP moves data both ways at once. The sockets send packets of
// up to 64 KiB, to be segmented, and begin with segments that don't fit once a
// header is pushed; they learn that by ICMP.
func TestBulkOverTCP(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*site)
	}{
		{"all offloads", func(*site) {}},
		{"router completes checksums", routerTxOff},
		{"whole checksums", wholeChecksums},
		{"merging everywhere", routerMerges},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			c.prepare(s)
			client := s.funnel(s.client, "eth0", replyFromTCP, tcpThroughTCP)
			server := s.funnel(s.server, "eth0", tcpFromTCP, replyThroughTCP)
			go echo(s.listenTCP(s.server, 8080))
			conn := s.dialTCP(s.client, netip.AddrPortFrom(serviceAddr, 8080))
			start := time.Now()
			sent, received := s.mustExchange(conn, int64(scaled(8<<20)))
			if !slices.Equal(sent, received) {
				t.Error("what came back differs from what was sent")
			}
			t.Logf("8 MiB there and back in %v", time.Since(start))
			t.Logf("client: %s", printReasons(mustCount(t, client, client.Egress).Reasons))
			t.Logf("server: %s", printReasons(mustCount(t, server, server.Egress).Reasons))
			s.pushedFrames(wire.TCP, wire.TCP)
			if n := s.invalid(); n != 0 {
				t.Errorf("the router dropped %d packets as invalid", n)
			}
		})
	}
}

// mustExchange is exchange, and ends the test when it fails.
func (s *site) mustExchange(conn *net.TCPConn, n int64) (sent, received []byte) {
	s.Helper()
	sent, received, err := exchange(conn, n)
	if err != nil {
		s.Fatal(err)
	}
	return sent, received
}
