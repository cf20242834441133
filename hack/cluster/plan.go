// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Config says what kind of cluster to start.
type Config struct {
	Name      string
	Nodes     int
	ProxyMode string   // kube-proxy's: iptables or nftables
	Families  string   // IP versions, the primary one first: "4", "6", "4,6" or "6,4"
	Outside   int      // addresses that the machine of off-cluster clients has
	Images    []string // tarballs loaded on every node
}

// A family is the address plan of one IP version. The addresses exist only inside
// the cluster's namespaces, so they can't collide with the host's.
type family struct {
	nodes     netip.Prefix // the wire that nodes and control plane share
	pods      netip.Prefix // a part for each node
	services  netip.Prefix // cluster IPs; the first is the API server's
	outside   netip.Prefix // off-cluster clients
	gateway   netip.Prefix // the wire between their gateway and the control plane
	balancers netip.Prefix // load-balancer addresses, routed to all nodes
	podBits   int          // length of a node's part of pods
}

var families = map[string]family{
	"4": {
		nodes:     netip.MustParsePrefix("10.90.0.0/24"),
		pods:      netip.MustParsePrefix("10.91.0.0/16"),
		services:  netip.MustParsePrefix("10.92.0.0/16"),
		outside:   netip.MustParsePrefix("10.93.0.0/24"),
		gateway:   netip.MustParsePrefix("10.95.0.0/24"),
		balancers: netip.MustParsePrefix("10.94.0.0/24"),
		podBits:   24,
	},
	"6": {
		nodes:     netip.MustParsePrefix("fd90::/64"),
		pods:      netip.MustParsePrefix("fd91::/48"),
		services:  netip.MustParsePrefix("fd92::/112"),
		outside:   netip.MustParsePrefix("fd93::/64"),
		gateway:   netip.MustParsePrefix("fd95::/64"),
		balancers: netip.MustParsePrefix("fd94::/64"),
		podBits:   64,
	},
}

// plan returns the address plans of the cluster, the primary family first.
func (c Config) plan() ([]family, error) {
	var plans []family
	for version := range strings.SplitSeq(c.Families, ",") {
		plan, ok := families[version]
		if !ok {
			return nil, fmt.Errorf("-families %q: 4, 6, 4,6 or 6,4", c.Families)
		}
		plans = append(plans, plan)
	}
	return plans, nil
}

func (c Config) check() error {
	if c.Nodes < 1 || c.Nodes > 20 {
		return fmt.Errorf("-nodes %d: 1 to 20", c.Nodes)
	}
	if c.Outside < 1 || c.Outside > 200 {
		return fmt.Errorf("-outside %d: 1 to 200", c.Outside)
	}
	if err := checkProxyMode(c.ProxyMode); err != nil {
		return fmt.Errorf("-proxy-mode: %w", err)
	}
	_, err := c.plan()
	return err
}

const nodePrefix = "node-"

// nodeName is the name of the node of that number; numbers start at 1.
func nodeName(number int) string { return nodePrefix + strconv.Itoa(number) }

// isNode tells nodes from other machines.
func isNode(machine string) bool { return strings.HasPrefix(machine, nodePrefix) }

func (c Config) nodeNames() []string {
	names := make([]string, c.Nodes)
	for i := range names {
		names[i] = nodeName(i + 1)
	}
	return names
}

// control is the control plane's address, everybody's router.
func (f family) control() netip.Addr { return host(f.nodes, 1) }

// node is the address of the node of that number.
func (f family) node(number int) netip.Addr { return host(f.nodes, 10+number) }

// podRange is the part of the pod addresses that belongs to a node.
func (f family) podRange(number int) netip.Prefix {
	bytes := f.pods.Addr().AsSlice()
	bytes[f.podBits/8-1] = byte(number)
	addr, _ := netip.AddrFromSlice(bytes)
	return netip.PrefixFrom(addr, f.podBits)
}

// apiService is the cluster IP of the Service "kubernetes".
func (f family) apiService() netip.Addr { return f.services.Addr().Next() }

// gatewayRouter is the control plane's address on the wire to the gateway.
func (f family) gatewayRouter() netip.Addr { return host(f.gateway, 1) }

// gatewayAddress is the gateway's on the same wire.
func (f family) gatewayAddress() netip.Addr { return host(f.gateway, 2) }

// outsideRouter is the gateway's address on the wire to the clients outside.
func (f family) outsideRouter() netip.Addr { return host(f.outside, 254) }

// outsideClient is the address of the off-cluster client of that number, from 1.
func (f family) outsideClient(number int) netip.Addr { return host(f.outside, number) }

// everywhere is the default route's destination.
func (f family) everywhere() netip.Prefix {
	if f.nodes.Addr().Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// host is the address of that number, below 256, in a prefix.
func host(prefix netip.Prefix, number int) netip.Addr {
	bytes := prefix.Addr().AsSlice()
	bytes[len(bytes)-1] = byte(number)
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}

// within is an address with the length of its prefix, as interfaces have it.
func within(addr netip.Addr, prefix netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(addr, prefix.Bits())
}
