// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// A message is one of a load. It says for which port of a container it is, so that
// both ends see when it arrives at another one.
type message struct {
	client string
	flow   int
	number int
	port   int
}

const messageLine = "load %s %d %d for %d"

func (m message) String() string { return fmt.Sprintf(messageLine, m.client, m.flow, m.number, m.port) }

// parseMessage reads what String wrote.
func parseMessage(line string) (m message, ok bool) {
	_, err := fmt.Sscanf(line, messageLine, &m.client, &m.flow, &m.number, &m.port)
	return m, err == nil
}

// A destination is a target with the container's port behind it, which differs from
// the one that is dialled where a Service says so: tcp://ADDR:PORT/CONTAINERPORT.
type destination struct {
	target, network, address string
	port                     int
}

func parseDestination(text string) (d destination, err error) {
	network, rest, found := strings.Cut(text, "://")
	if !found || network != "tcp" && network != "udp" {
		return d, fmt.Errorf("%q: want tcp://ADDR:PORT or udp://ADDR:PORT", text)
	}
	address, behind, _ := strings.Cut(rest, "/")
	_, dialled, err := net.SplitHostPort(address)
	if err != nil {
		return d, fmt.Errorf("%q: %w", text, err)
	}
	if behind == "" {
		behind = dialled
	}
	port, err := strconv.Atoi(behind)
	return destination{network + "://" + address, network, address, port}, err
}
