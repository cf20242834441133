// SPDX-License-Identifier: Apache-2.0

// Command packetview shows a UDP flow at three places of a host: the frames on
// an interface, as the wire carries them; the packets that the IP layer
// delivers, behind all TC programs; and the datagrams that a socket receives.
//
// It prints "ready" once it listens, then one line per place and datagram, and
// ends after the given number of datagrams. It needs root.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("packetview", flag.ContinueOnError)
	flags.SetOutput(stderr)
	v := view{out: stdout}
	flags.StringVar(&v.device, "interface", "eth0", "whose frames to show")
	flags.IntVar(&v.port, "udp", 2055, "the port of the flow")
	flags.IntVar(&v.count, "count", 1, "datagrams to wait for")
	flags.DurationVar(&v.patience, "timeout", 5*time.Second, "how long to wait for each")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if err := v.run(); err != nil {
		fmt.Fprintln(stderr, "packetview:", err)
		return 1
	}
	return 0
}

// view is what to look at.
type view struct {
	device   string
	port     int
	count    int
	patience time.Duration
	out      io.Writer
}

func (v view) run() error {
	wire, err := openFrames(v.device, v.patience)
	if err != nil {
		return err
	}
	defer unix.Close(wire)
	stack, err := openDelivered(v.patience)
	if err != nil {
		return err
	}
	defer unix.Close(stack)
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{Port: v.port})
	if err != nil {
		return err
	}
	defer socket.Close()
	fmt.Fprintln(v.out, "ready")
	for range v.count {
		if err := v.showOne(wire, stack, socket); err != nil {
			return err
		}
	}
	return nil
}

// showOne shows one datagram at the three places.
func (v view) showOne(wire, stack int, socket *net.UDPConn) error {
	frame, err := v.next(wire, ethernetLength)
	if err != nil {
		return fmt.Errorf("no packet of the flow on %s: %w", v.device, err)
	}
	v.show("on the wire", frame)
	packet, err := v.next(stack, 0)
	if err != nil {
		return fmt.Errorf("no packet of the flow was delivered: %w", err)
	}
	v.show("after", packet)
	buffer := make([]byte, 2048)
	if err := socket.SetReadDeadline(time.Now().Add(v.patience)); err != nil {
		return err
	}
	n, from, err := socket.ReadFromUDP(buffer)
	if err != nil {
		return fmt.Errorf("no datagram on the socket: %w", err)
	}
	fmt.Fprintf(v.out, "%-13s %s from %s\n", "socket", quote(buffer[:n]), from)
	return nil
}

func (v view) show(place string, packet []byte) {
	for i, line := range describe(packet) {
		if i > 0 {
			place = ""
		}
		fmt.Fprintf(v.out, "%-13s %s\n", place, line)
	}
}

// next returns the next packet that carries the flow, from its IP header on.
func (v view) next(fd, skip int) ([]byte, error) {
	buffer := make([]byte, 2048)
	for deadline := time.Now().Add(v.patience); time.Now().Before(deadline); {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n > skip && carries(buffer[skip:n], uint16(v.port)) {
			return buffer[skip:n], nil
		}
	}
	return nil, os.ErrDeadlineExceeded
}
