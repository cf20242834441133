// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"strings"

	"golang.org/x/sys/unix"
)

// pathMTU is what the kernel knows of the largest packet to a target: the route's MTU,
// or less where an ICMP error said so.
func pathMTU(target string) (mtu int, err error) {
	network, address, _ := strings.Cut(target, "://")
	if network != "udp" {
		return 0, fmt.Errorf("%q: want udp://ADDR:PORT", target)
	}
	conn, err := net.Dial("udp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	level, option := unix.IPPROTO_IP, unix.IP_MTU
	if isIPv6(conn) {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	return mtu, onSocket(conn, func(socket int) (err error) {
		mtu, err = unix.GetsockoptInt(socket, level, option)
		return err
	})
}

// dontFragment makes a socket refuse datagrams that do not fit, instead of sending them in
// fragments.
func dontFragment(conn net.Conn) error {
	level, option, value := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO
	if isIPv6(conn) {
		level, option, value = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO
	}
	return onSocket(conn, func(socket int) error { return unix.SetsockoptInt(socket, level, option, value) })
}

func isIPv6(conn net.Conn) bool { return conn.RemoteAddr().(*net.UDPAddr).IP.To4() == nil }

func onSocket(conn net.Conn, do func(socket int) error) error {
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = raw.Control(func(socket uintptr) { failure = do(int(socket)) })
	if err == nil {
		err = failure
	}
	return err
}
