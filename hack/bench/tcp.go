// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// direction of bulk data.
type direction bool

const (
	upload   direction = true  // client to server
	download direction = false // server to client
)

// bulk measures bytes per second that arrive over some TCP connections at once,
// sent and received by blocking calls on threads of one CPU.
func bulk(streams int, way direction) measure {
	return func(l *lab, d time.Duration) (float64, error) {
		listener, err := listen(l)
		if err != nil {
			return 0, err
		}
		defer unix.Close(listener)
		var pairs []tcpPair
		defer func() {
			for _, p := range pairs {
				p.close()
			}
		}()
		for range streams {
			pair, err := connect(l, listener)
			if err != nil {
				return 0, err
			}
			pairs = append(pairs, pair)
		}
		return move(pairs, way, d), nil
	}
}

// move lets all pairs move bytes until the sockets are shut down.
func move(pairs []tcpPair, way direction, d time.Duration) float64 {
	var received atomic.Int64
	var threads sync.WaitGroup
	for _, p := range pairs {
		from, to := p.client, p.server
		if way == download {
			from, to = to, from
		}
		threads.Go(func() { pinned(func() { drain(to, &received) }) })
		threads.Go(func() { pinned(func() { fill(from) }) })
	}
	time.Sleep(d / 4) // slow start
	begin, before := time.Now(), received.Load()
	time.Sleep(d)
	rate := float64(received.Load()-before) / time.Since(begin).Seconds()
	for _, p := range pairs {
		p.reset()
	}
	threads.Wait()
	return rate
}

const bufferSize = 128 << 10

func drain(fd int, received *atomic.Int64) {
	buffer := make([]byte, bufferSize)
	for {
		n, err := unix.Read(fd, buffer)
		if again(err) {
			continue
		}
		if n <= 0 {
			return
		}
		received.Add(int64(n))
	}
}

func fill(fd int) {
	buffer := make([]byte, bufferSize)
	for {
		if _, err := unix.Write(fd, buffer); err != nil && !again(err) {
			return
		}
	}
}

func again(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)
}

// tcpPair is both ends of one connection.
type tcpPair struct{ client, server int }

func (p tcpPair) close() {
	unix.Close(p.client)
	unix.Close(p.server)
}

// reset ends the connection at both ends at once, whatever is under way.
func (p tcpPair) reset() {
	for _, fd := range []int{p.client, p.server} {
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
	}
}

func listen(l *lab) (fd int, err error) {
	err = inNamespace(l.server, func() (err error) {
		if fd, err = tcpSocket(); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
		if err := unix.Bind(fd, address(serverAddress, innerTCP)); err != nil {
			return err
		}
		return unix.Listen(fd, 1024)
	})
	return fd, err
}

// congestionControl of all connections, whatever the machine's is: one that paces
// by what it has measured (BBR) makes alike streams differ.
const congestionControl = "cubic"

func tcpSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestionControl); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("congestion control %s: %w", congestionControl, err)
	}
	return fd, setTimeout(fd, 500*time.Millisecond)
}

// connect opens one connection through the service's address.
func connect(l *lab, listener int) (pair tcpPair, err error) {
	err = inNamespace(l.client, func() (err error) {
		pair, err = dial(listener)
		return err
	})
	return pair, err
}

// dial connects from the namespace of the calling thread. The kernel completes
// the handshake, so accepting afterwards needs no other thread.
func dial(listener int) (tcpPair, error) {
	client, err := tcpSocket()
	if err != nil {
		return tcpPair{}, err
	}
	if err := unix.Connect(client, address(serviceAddress, innerTCP)); err != nil {
		unix.Close(client)
		return tcpPair{}, err
	}
	server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		unix.Close(client)
		return tcpPair{}, err
	}
	return tcpPair{client, server}, setTimeout(server, 500*time.Millisecond)
}
