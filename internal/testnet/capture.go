// SPDX-License-Identifier: Apache-2.0

package testnet

import (
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Frame is a packet as an interface had it, with its Ethernet header if the
// interface has one.
type Frame struct {
	Data []byte
	// Outgoing tells that it left through the interface, after any TC program.
	// Else it arrived, and was seen before any TC program.
	Outgoing bool
	// Partial tells that its checksum was still to be completed, so that the
	// octets here don't hold it.
	Partial bool
}

// Capture records what passes an interface, until the test ends or its buffer
// of 64 MiB is full.
type Capture struct {
	ns     *Namespace
	fd     int
	frames []Frame
}

// Capture starts to record an interface of the namespace. What passes after it
// returned is recorded.
func (ns *Namespace) Capture(device string) *Capture {
	ns.t.Helper()
	c := &Capture{ns: ns}
	var err error
	ns.Do(func() { c.fd, err = packetSocket(device) })
	if err != nil {
		ns.t.Fatalf("capture on %s: %v", device, err)
	}
	ns.t.Cleanup(func() { unix.Close(c.fd) })
	return c
}

func packetSocket(device string) (int, error) {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: allProtocols, Ifindex: link.Index}),
	)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

const allProtocols = unix.ETH_P_ALL << 8 // in network byte order

// Frames returns all that was recorded so far.
func (c *Capture) Frames() []Frame {
	c.ns.t.Helper()
	for {
		f, err := receive(c.fd)
		if errors.Is(err, unix.EAGAIN) {
			return slices.Clone(c.frames)
		}
		if err != nil {
			c.ns.t.Fatalf("read capture: %v", err)
		}
		c.frames = append(c.frames, f)
	}
}

// csumNotReady is TP_STATUS_CSUMNOTREADY of linux/if_packet.h.
const csumNotReady = 1 << 3

func receive(fd int) (Frame, error) {
	data := make([]byte, 65536+64)
	control := make([]byte, unix.CmsgSpace(int(unsafe.Sizeof(unix.TpacketAuxdata{}))))
	n, controlLen, _, from, err := unix.Recvmsg(fd, data, control, 0)
	if err != nil {
		return Frame{}, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlLen])
	if err != nil {
		return Frame{}, err
	}
	f := Frame{Data: slices.Clone(data[:n])}
	if link, ok := from.(*unix.SockaddrLinklayer); ok {
		f.Outgoing = link.Pkttype == unix.PACKET_OUTGOING
	}
	for _, m := range messages {
		if m.Header.Type == unix.PACKET_AUXDATA {
			f.Partial = binary.NativeEndian.Uint32(m.Data)&csumNotReady != 0
		}
	}
	return f, nil
}
