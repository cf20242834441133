// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/sfunnel-io/funnel-operator/internal/testnet"
)

// The addresses of every lab. A client reaches the server through a router that
// translates the service's address, as kube-proxy would:
//
//	client 10.88.0.2 -- router -- server 10.88.1.2
//	        to 10.99.0.1:179  ->  10.88.1.2:1179
//	        to 10.99.0.1:P    ->  10.88.1.2:P
const (
	clientAddress  = "10.88.0.2"
	serviceAddress = "10.99.0.1"
	serverAddress  = "10.88.1.2"
	throughPort    = 179
	targetPort     = 1179
	mtu            = 1500
)

// lab is three network namespaces and what one mode has attached there.
type lab struct {
	client, router, server string
	closers                []func() error
}

var labs int // made so far, for their names

// openLab makes the namespaces and attaches the mode. txOff turns the client's
// checksum offload off, so that packets come to the program with a complete
// checksum, as forwarded ones do.
func openLab(m mode, txOff bool) (*lab, error) {
	if labs == 0 {
		testnet.RemoveLeftOver("bench")
	}
	labs++
	base := fmt.Sprintf("bench-%d-%d", os.Getpid(), labs)
	l := &lab{client: base + "-c", router: base + "-r", server: base + "-s"}
	if err := l.build(m, txOff); err != nil {
		return nil, errors.Join(fmt.Errorf("lab for %s: %w", m.name, err), l.close())
	}
	return l, nil
}

func (l *lab) build(m mode, txOff bool) error {
	for _, name := range []string{l.client, l.router, l.server} {
		if err := command("ip", "netns", "add", name); err != nil {
			return err
		}
		l.closers = append(l.closers, func() error { return command("ip", "netns", "del", name) })
	}
	if err := l.connect(m.overhead); err != nil {
		return err
	}
	if txOff {
		if err := command("ip", "netns", "exec", l.client, "ethtool", "-K", "eth0", "tx", "off"); err != nil {
			return err
		}
	}
	return m.attach(l)
}

// connect joins the three. A mode that adds bytes gets a smaller route MTU, so
// that TCP leaves room for them.
func (l *lab) connect(overhead int) error {
	for _, end := range []struct{ name, address, gateway, port string }{
		{l.client, clientAddress, "10.88.0.1", "client"}, {l.server, serverAddress, "10.88.1.1", "server"},
	} {
		lines := []string{
			fmt.Sprintf("link add eth0 mtu %d type veth peer name %s mtu %d netns %s", mtu, end.port, mtu, l.router),
			"link set lo up", "link set eth0 up", "addr add " + end.address + "/24 dev eth0",
		}
		if err := script(strings.Join(lines, "\n"), "ip", "-n", end.name, "-batch", "-"); err != nil {
			return err
		}
		lines = []string{"link set " + end.port + " up", "addr add " + end.gateway + "/24 dev " + end.port}
		if err := script(strings.Join(lines, "\n"), "ip", "-n", l.router, "-batch", "-"); err != nil {
			return err
		}
		err := command("ip", "-n", end.name, "route", "add", "default", "via", end.gateway, "mtu", fmt.Sprint(mtu-overhead))
		if err != nil {
			return err
		}
	}
	err := inNamespace(l.router, func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	})
	if err != nil {
		return err
	}
	return script(fmt.Sprintf(`table ip bench {
		chain prerouting {
			type nat hook prerouting priority dstnat
			ip daddr %[1]s tcp dport %[2]d dnat to %[3]s:%[4]d
			ip daddr %[1]s udp dport %[2]d dnat to %[3]s:%[4]d
			ip daddr %[1]s dnat to %[3]s
		}
	}`, serviceAddress, throughPort, serverAddress, targetPort), "ip", "netns", "exec", l.router, "nft", "-f", "-")
}

// close removes everything that the lab has made, in the opposite order.
func (l *lab) close() error {
	var errs []error
	for i := len(l.closers) - 1; i >= 0; i-- {
		errs = append(errs, l.closers[i]())
	}
	l.closers = nil
	return errors.Join(errs...)
}
