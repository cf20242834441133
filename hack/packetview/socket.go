// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

const ethernetLength = 14

// openFrames returns a socket that sees the frames of an interface before any TC
// program does. (One that asks for ETH_P_IP only would see them afterwards.)
func openFrames(device string, patience time.Duration) (int, error) {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return -1, fmt.Errorf("interface %s: %w", device, err)
	}
	protocol := uint16(unix.ETH_P_ALL << 8) // in network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(protocol))
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: i.Index}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind to %s: %w", device, err)
	}
	return fd, limit(fd, patience)
}

// openDelivered returns a socket that sees the UDP packets which the IP layer
// delivers to this host.
func openDelivered(patience time.Duration) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return -1, fmt.Errorf("raw socket: %w", err)
	}
	return fd, limit(fd, patience)
}

// limit keeps reads from waiting longer than that.
func limit(fd int, patience time.Duration) error {
	t := unix.NsecToTimeval(patience.Nanoseconds())
	return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &t)
}
