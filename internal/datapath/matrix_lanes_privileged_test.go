// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
	"github.com/sfunnel-io/funnel-operator/internal/testnet/wire"
)

// modeOf is kindOf without the family.
func modeOf(p wire.Parsed, f testnet.Frame) (string, error) {
	through, other := p.DestPort, p.SourcePort
	if f.Outgoing {
		through, other = other, through
	}
	pushed := p.Protocol == wire.UDP || p.Magic
	switch {
	case through != 1179:
		return "", fmt.Errorf("port %d of the server instead of 1179", through)
	case pushed && f.Partial && !(p.Protocol == wire.UDP && p.Source.Is6()):
		// A router that took merged datagrams apart leaves their checksums to a device.
		return "", errors.New("pushed, and its checksum still to be completed")
	case p.Protocol == wire.UDP:
		return inner(p, wire.UDP, "UDP in UDP", 2055, 2056)
	case p.Magic && other == 540:
		return inner(p, wire.TCP, "TCP in TCP", 9090, 9096)
	case p.Magic:
		return inner(p, wire.UDP, "UDP in TCP", 4739, 4746)
	}
	urgent := binary.BigEndian.Uint16(p.Segment[18:])
	if p.Segment[13]&wire.URG != 0 || (urgent != 8080 && urgent != 8086) {
		return "", fmt.Errorf("marker %d, flags %#x", urgent, p.Segment[13])
	}
	return "inline", nil
}

// inner looks at what was pushed.
func inner(outer wire.Parsed, protocol byte, mode string, ports ...uint16) (string, error) {
	p, err := outer.Inner(protocol)
	if err == nil && !slices.Contains(ports, p.DestPort) && !slices.Contains(ports, p.SourcePort) {
		err = fmt.Errorf("inner ports %d and %d", p.SourcePort, p.DestPort)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", mode, err)
	}
	return mode, nil
}

// together runs all at once and reports what each returns.
func (s *site) together(lanes []lane, move func(lane) error) {
	s.Helper()
	var wait sync.WaitGroup
	for _, l := range lanes {
		wait.Go(func() {
			if err := move(l); err != nil {
				s.Errorf("%s: %v", l.kind, err)
			}
		})
	}
	wait.Wait()
	if s.Failed() {
		s.FailNow()
	}
}

// moveStreams sends n octets on a connection of each lane; they come back while
// others are still being sent.
func (s *site) moveStreams(lanes []lane, n int64) {
	s.Helper()
	for _, l := range lanes {
		go echo(s.listenTCP(s.server, l.to.Port()))
	}
	s.together(lanes, func(l lane) error {
		conn, err := dial(s.client, 0, l.to)
		if err != nil {
			return err
		}
		defer conn.Close()
		sent, received, err := exchange(conn, n)
		if err == nil && !slices.Equal(sent, received) {
			err = errors.New("what came back differs from what was sent")
		}
		return err
	})
}

// moveDatagrams sends n octets there and, if there is a way, other ones back, at
// once. Each second time the client hands its kernel eight datagrams in one.
func (s *site) moveDatagrams(lanes []lane, n int64, back bool) {
	s.Helper()
	clients, servers := map[lane]*net.UDPConn{}, map[lane]*net.UDPConn{}
	for _, l := range lanes {
		servers[l] = s.listenUDP(s.server, int(l.to.Port()))
		clients[l] = s.dialUDP(s.client, l.to, sendGSO, largeBuffer)
	}
	s.together(lanes, func(l lane) error {
		client, server := clients[l], servers[l]
		from, err := greet(client, server)
		if err != nil {
			return err
		}
		answers := func(d []byte) error {
			_, err := server.WriteToUDPAddrPort(d, from)
			return err
		}
		if back {
			// Connection tracking takes the first packets of a flow one by one.
			err = pour(1, func(int) (int, int) { return 9, 1 }, answers, client)
		}
		if err != nil {
			return fmt.Errorf("first datagram back: %w", err)
		}
		failed := make(chan error, 1)
		go func() {
			if !back {
				failed <- nil
				return
			}
			failed <- pour(n, func(i int) (int, int) { return 4 + i*131%1400, 1 }, answers, client)
		}()
		err = pour(n, func(i int) (int, int) {
			if i%2 == 1 {
				return 8000, 8
			}
			return 4 + i*37%997, 1
		}, func(d []byte) error { _, err := client.Write(d); return err }, server)
		return errors.Join(err, <-failed)
	})
}

// greet sends a lane's first datagram and returns where it came from.
func greet(client, server *net.UDPConn) (netip.AddrPort, error) {
	if _, err := client.Write(payload(9)); err != nil {
		return netip.AddrPort{}, err
	}
	server.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, from, err := server.ReadFromUDPAddrPort(make([]byte, 100))
	if err != nil {
		err = fmt.Errorf("first datagram: %w", err)
	}
	return from, err
}

// ahead is how many datagrams of a lane may be under way, so that no queue
// overflows.
const ahead = 48

// pour sends at least n octets in datagrams one way and fails unless exactly
// those arrive, in any order. Send number i has a size and is cut into so many.
func pour(n int64, shape func(i int) (size, pieces int), send func([]byte) error, to *net.UDPConn) error {
	var out, in digest
	way := make(chan struct{}, ahead)
	drained := drain(to, &in, way)
	for i, left := 0, n; left > 0; i++ {
		size, pieces := shape(i)
		if err := enter(way, pieces); err != nil {
			return fmt.Errorf("%d datagrams sent: %w", out.count, err)
		}
		d := numbered(i, size)
		for at := 0; at < size; at += size / pieces {
			out.add(d[at : at+size/pieces])
		}
		if err := send(d); err != nil {
			return err
		}
		left -= int64(size)
	}
	if err := enter(way, ahead); err != nil {
		return fmt.Errorf("all %d datagrams sent: %w", out.count, err)
	}
	to.SetReadDeadline(time.Now())
	<-drained
	if in != out {
		return errors.New("other datagrams arrived than were sent")
	}
	return nil
}

// enter waits until so many datagrams more may be under way.
func enter(way chan struct{}, n int) error {
	for range n {
		select {
		case way <- struct{}{}:
		case <-time.After(10 * time.Second):
			return fmt.Errorf("%d of them did not arrive", len(way))
		}
	}
	return nil
}

// drain receives until the socket's deadline, and makes way.
func drain(conn *net.UDPConn, in *digest, way chan struct{}) (done chan struct{}) {
	conn.SetReadDeadline(time.Time{})
	done = make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 65536)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			in.add(buffer[:n])
			<-way
		}
	}()
	return done
}

// digest is of datagrams in any order.
type digest struct {
	sum   [4]uint64
	count int
}

func (d *digest) add(datagram []byte) {
	hash := sha256.Sum256(datagram)
	for i := range d.sum {
		d.sum[i] += binary.LittleEndian.Uint64(hash[8*i:])
	}
	d.count++
}
