// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/sfunnel-io/funnel-operator/internal/attach"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// The ports on which the server listens and which the rules funnel.
const (
	innerUDP = 4739
	innerTCP = 5201 // of traffic; the next two are for many connections
)

// kind of traffic.
type kind uint8

const (
	udpKind  kind = 1 << iota // datagrams
	bulkKind                  // TCP streams
	callKind                  // short TCP connections
	tcpKind  = bulkKind | callKind
	anyKind  = udpKind | tcpKind
)

// mode is a column: rules for both ends, or none.
type mode struct {
	name           string
	kinds          kind // of traffic that it applies to
	client, server side
	overhead       int // bytes that it adds to a packet
	// empty puts programs that do nothing on the hooks of one end; nil: not so.
	empty func(ingress, egress *ebpf.Program) error
	peer  string // object file, instead of rules
}

// side is the rules of one end's device.
type side struct{ egress, ingress string }

func (s side) empty() bool { return s.egress == "" && s.ingress == "" }

// native is what every other mode is compared with.
const native = "native"

// Modes that have targets.
const (
	inline    = "inline"
	pushByTCP = "push UDP in TCP"
	pushByUDP = "push UDP in UDP"
)

// modes lists all columns. Rules say the same on both ends: what the client
// funnels the server takes out, and for TCP the reverse. The second and the third
// tell what the comparison can tell apart.
func modes(peer string) []mode {
	idle := side{"tcp dport 9 accept", "tcp dport 9 accept"}
	list := []mode{
		{name: native, kinds: anyKind},
		{name: "native again", kinds: anyKind},
		{name: "four empty programs", kinds: anyKind, empty: attachAsOurs},
		{name: "attached, no match", kinds: anyKind, client: idle, server: idle},
		{name: inline, kinds: tcpKind,
			client: side{egress: "ip daddr 10.99.0.1 tcp dport 5201-5203 funnel tcp dport 179 inline"},
			server: side{ingress: "ip tcp dport 1179 unfunnel tcp inline dport 5201-5203"}},
		{name: pushByTCP, kinds: udpKind, overhead: 20,
			client: side{egress: "ip daddr 10.99.0.1 udp dport 4739 funnel tcp dport 179 sport 540"},
			server: side{ingress: "ip tcp dport 1179 sport 540 unfunnel udp dport 4739"}},
		{name: pushByUDP, kinds: udpKind, overhead: 8,
			client: side{egress: "ip daddr 10.99.0.1 udp dport 4739 funnel udp dport 179 sport 540"},
			server: side{ingress: "ip udp dport 1179 sport 540 unfunnel udp dport 4739"}},
		{name: "push TCP in TCP", kinds: bulkKind, overhead: 20,
			client: side{
				egress:  "ip daddr 10.99.0.1 tcp dport 5201 funnel tcp dport 179 sport 540",
				ingress: "ip saddr 10.99.0.1 tcp sport 179 dport 540 unfunnel tcp"},
			server: side{
				egress:  "ip saddr 10.88.1.2 tcp sport 5201 funnel tcp dport 540 sport 1179",
				ingress: "ip tcp dport 1179 sport 540 unfunnel tcp dport 5201"}},
	}
	if hasTCX() {
		list = slices.Insert(list, 3, mode{name: "four empty filters", kinds: anyKind, empty: attachFilters})
	}
	if peer != "" {
		list = append(list, mode{name: "peer", kinds: udpKind | bulkKind, overhead: 20, peer: peer})
	}
	return list
}

// modeNamed is one of modes.
func modeNamed(name string) mode {
	for _, m := range modes("") {
		if m.name == name {
			return m
		}
	}
	panic("no mode " + name)
}

// attach puts the mode's programs on both ends of a lab.
func (m mode) attach(l *lab) error {
	if m.peer != "" {
		return attachPeer(l, m.peer)
	}
	if m.empty != nil {
		return attachEmpty(l, m.empty)
	}
	for namespace, s := range map[string]side{l.client: m.client, l.server: m.server} {
		if s.empty() {
			continue
		}
		set, err := s.parse()
		if err != nil {
			return err
		}
		_, err = attach.Attach(context.Background(), attach.Options{Netns: namespace, Sets: []attach.Set{set}, Version: "bench"})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s side) parse() (set attach.Set, err error) {
	set.Interfaces = []string{"eth0"}
	if set.Egress, err = rules.Parse(s.egress); err != nil {
		return set, fmt.Errorf("%s: %w", s.egress, err)
	}
	if set.Ingress, err = rules.Parse(s.ingress); err != nil {
		return set, fmt.Errorf("%s: %w", s.ingress, err)
	}
	return set, nil
}
