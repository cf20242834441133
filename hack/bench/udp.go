// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// udpPair is a client and a server socket, each in its namespace.
type udpPair struct{ client, server int }

func openUDP(l *lab) (p udpPair, err error) {
	p = udpPair{-1, -1}
	err = inNamespace(l.server, func() (err error) {
		p.server, err = udpSocket()
		if err != nil {
			return err
		}
		if err := unix.SetsockoptInt(p.server, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20); err != nil {
			return err
		}
		return unix.Bind(p.server, address(serverAddress, innerUDP))
	})
	if err != nil {
		return p, err
	}
	err = inNamespace(l.client, func() (err error) {
		p.client, err = udpSocket()
		if err != nil {
			return err
		}
		return unix.Connect(p.client, address(serviceAddress, innerUDP))
	})
	return p, err
}

// udpSocket gives up a send or receive after a while, so that a mode that
// delivers nothing ends.
func udpSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, setTimeout(fd, 100*time.Millisecond)
}

func (p udpPair) close() {
	unix.Close(p.client)
	unix.Close(p.server)
}

func address(ip string, port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Addr: netip.MustParseAddr(ip).As4(), Port: port}
}

func setTimeout(fd int, d time.Duration) error {
	value := unix.NsecToTimeval(d.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &value); err != nil {
		return err
	}
	return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &value)
}

// datagrams measures delivered datagrams per second: one thread sends each by a
// call and takes it up at the other end before it sends the next, so that the
// figure is the whole cost of a datagram from socket to socket and free of
// scheduling.
func datagrams(size int) measure {
	return func(l *lab, d time.Duration) (float64, error) {
		pair, err := openUDP(l)
		defer pair.close()
		if err != nil {
			return 0, err
		}
		out, in := make([]byte, size), newMessages(1, size)
		return perSecond(d, func() (int, error) {
			if err := unix.Send(pair.client, out, 0); err != nil {
				return 0, err
			}
			return in.upTo(pair.server)
		})
	}
}

// segmented is datagrams for a sender that leaves cutting to the kernel
// (UDP_SEGMENT), as QUIC implementations do: one call, many datagrams.
func segmented(size int) measure {
	return func(l *lab, d time.Duration) (float64, error) {
		pair, err := openUDP(l)
		defer pair.close()
		if err != nil {
			return 0, err
		}
		if err := unix.SetsockoptInt(pair.client, unix.IPPROTO_UDP, unix.UDP_SEGMENT, size); err != nil {
			return 0, fmt.Errorf("UDP_SEGMENT: %w", err)
		}
		const segments = 40
		out, in := make([]byte, segments*size), newMessages(segments, size)
		return perSecond(d, func() (int, error) {
			if err := unix.Send(pair.client, out, 0); err != nil {
				return 0, err
			}
			return in.upTo(pair.server)
		})
	}
}

// perSecond repeats step on a pinned thread for d and returns the sum of what it
// returned per second. A tenth of that time goes before and is not counted.
func perSecond(d time.Duration, step func() (int, error)) (rate float64, err error) {
	pinned(func() { rate, err = perSecondHere(d, step) })
	return rate, err
}

// perSecondHere is perSecond on the calling thread, which must be pinned.
func perSecondHere(d time.Duration, step func() (int, error)) (float64, error) {
	if _, _, err := repeat(d/10, step); err != nil {
		return 0, err
	}
	total, took, err := repeat(d, step)
	return float64(total) / took.Seconds(), err
}

func repeat(d time.Duration, step func() (int, error)) (total int, took time.Duration, err error) {
	for begin := time.Now(); took < d; took = time.Since(begin) {
		n, err := step()
		if err != nil {
			return 0, 0, err
		}
		total += n
	}
	return total, took, nil
}

// messages is the argument of recvmmsg (struct mmsghdr[]).
type messages struct {
	headers []message
	vectors []unix.Iovec
	buffer  []byte
}

type message struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

func newMessages(count, size int) *messages {
	m := &messages{make([]message, count), make([]unix.Iovec, count), make([]byte, count*size)}
	for i := range m.headers {
		m.vectors[i].Base = &m.buffer[i*size]
		m.vectors[i].SetLen(size)
		m.headers[i].header.Iov = &m.vectors[i]
		m.headers[i].header.SetIovlen(1)
	}
	return m
}

// upTo receives until there are as many messages as there is room for, or none
// has come for the socket's timeout. It returns how many came.
func (m *messages) upTo(fd int) (count int, err error) {
	for count < len(m.headers) {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.headers[count])),
			uintptr(len(m.headers)-count), 0x10000 /* MSG_WAITFORONE */, 0, 0)
		if errno == unix.EAGAIN {
			return count, nil
		}
		if errno != 0 {
			return count, errno
		}
		count += int(n)
	}
	return count, nil
}
