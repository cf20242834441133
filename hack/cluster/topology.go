// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"net/netip"
	"path/filepath"
	"strings"
)

// A topology is all machines of a cluster and the wires between them:
//
//	outside ──── gateway ──── control ═══ nodes (bridge) ═══ node-1, node-2, …
//
// control runs the control plane and is everybody's router; gateway is a router that
// forwards the traffic of all clients outside. Load-balancer addresses
// are routed to all nodes, each client to one of them by its address, as an external
// load balancer does that knows no Kubernetes.
type topology struct {
	machines []machine
	wires    []wire
}

const (
	controlName = "control"
	gatewayName = "gateway"
	outsideName = "outside"
	nodeBridge  = "nodes"
)

// routerSysctls make a machine forward, and believe whatever source address a packet
// has, since replies may take another way.
var routerSysctls = map[string]string{
	"net/ipv4/ip_forward":              "1",
	"net/ipv6/conf/all/forwarding":     "1",
	"net/ipv4/conf/all/rp_filter":      "0",
	"net/ipv4/conf/default/rp_filter":  "0",
	"net/ipv6/conf/default/accept_dad": "0",
}

// balancerSysctls make a router choose next hops by source and destination address
// alone. For IPv6 it would look at the flow label, too, which is another one for each
// connection.
func balancerSysctls() map[string]string {
	sysctls := maps.Clone(routerSysctls)
	sysctls["net/ipv6/fib_multipath_hash_policy"] = "3"
	sysctls["net/ipv6/fib_multipath_hash_fields"] = "3"
	return sysctls
}

// topology describes the cluster's machines; what runs in them is added by the
// parts that know.
func (c *cluster) topology() topology {
	t := topology{
		machines: []machine{c.controlPlane(), c.gateway(), c.outside()},
		wires:    []wire{{controlName, gatewayName, gatewayName, "eth0"}, {gatewayName, outsideName, outsideName, "eth0"}},
	}
	for number := 1; number <= c.Nodes; number++ {
		t.machines = append(t.machines, c.node(number))
		t.wires = append(t.wires, wire{controlName, nodeName(number), nodeName(number), "eth0"})
	}
	for i := range t.machines {
		t.machines[i].Keep = []string{c.cache}
		t.machines[i].Logs = filepath.Join(c.dir, "logs")
		t.machines[i].Files = c.dir
	}
	return t
}

// router is the control plane's side of the network.
func (c *cluster) router() (interfaces []networkInterface, routes []route) {
	nodes := networkInterface{Name: nodeBridge, Ports: c.nodeNames()}
	gateway := networkInterface{Name: gatewayName}
	for _, f := range c.families {
		nodes.Addresses = append(nodes.Addresses, within(f.control(), f.nodes))
		gateway.Addresses = append(gateway.Addresses, within(f.gatewayRouter(), f.gateway))
		routes = append(routes, route{To: f.outside, Via: []netip.Addr{f.gatewayAddress()}})
		var all []netip.Addr
		for number := 1; number <= c.Nodes; number++ {
			all = append(all, f.node(number))
			routes = append(routes, route{To: f.podRange(number), Via: []netip.Addr{f.node(number)}})
		}
		routes = append(routes, route{To: f.balancers, Via: all})
	}
	return []networkInterface{nodes, gateway}, routes
}

// gateway stands between the off-cluster clients and all the rest.
func (c *cluster) gateway() machine {
	eth0, outside := networkInterface{Name: "eth0"}, networkInterface{Name: outsideName}
	var routes []route
	for _, f := range c.families {
		eth0.Addresses = append(eth0.Addresses, within(f.gatewayAddress(), f.gateway))
		outside.Addresses = append(outside.Addresses, within(f.outsideRouter(), f.outside))
		routes = append(routes, route{To: f.everywhere(), Via: []netip.Addr{f.gatewayRouter()}})
	}
	return machine{Name: gatewayName, Interfaces: []networkInterface{eth0, outside}, Routes: routes, Sysctls: routerSysctls}
}

// outside is where the off-cluster clients are: one machine with many addresses.
func (c *cluster) outside() machine {
	eth0 := networkInterface{Name: "eth0"}
	var routes []route
	for _, f := range c.families {
		for number := 1; number <= c.Outside; number++ {
			eth0.Addresses = append(eth0.Addresses, within(f.outsideClient(number), f.outside))
		}
		routes = append(routes, route{To: f.everywhere(), Via: []netip.Addr{f.outsideRouter()}})
	}
	return machine{Name: outsideName, Interfaces: []networkInterface{eth0}, Routes: routes}
}

// nodeNetwork is a node's side: its address, and the way to the other nodes' pods.
func (c *cluster) nodeNetwork(number int) (interfaces []networkInterface, routes []route) {
	eth0 := networkInterface{Name: "eth0"}
	for _, f := range c.families {
		eth0.Addresses = append(eth0.Addresses, within(f.node(number), f.nodes))
		routes = append(routes, route{To: f.everywhere(), Via: []netip.Addr{f.control()}})
		for other := 1; other <= c.Nodes; other++ {
			if other != number {
				routes = append(routes, route{To: f.podRange(other), Via: []netip.Addr{f.node(other)}})
			}
		}
	}
	return []networkInterface{eth0}, routes
}

// each joins one thing of every family with commas, as Kubernetes' flags want it.
func (c *cluster) each(of func(family) string) string {
	var all []string
	for _, f := range c.families {
		all = append(all, of(f))
	}
	return strings.Join(all, ",")
}
