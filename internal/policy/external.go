// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// The keys of the ConfigMap for clients outside the cluster. Those of node ports
// are templates: node addresses are not known here, and the gateway's
// configuration replaces the placeholders.
const (
	externalEgressPeer          = "egress.peer.rules"
	externalIngressPeer         = "ingress.peer.rules"
	externalEgressNodePort      = "egress.nodeport.rules"
	externalEgressNodePortPeer  = "egress.nodeport.peer.rules"
	externalIngressNodePortPeer = "ingress.nodeport.peer.rules"
)

// The placeholders. Neither program takes a text that still has one.
const (
	nodeAddresses  = "<NodeAddresses>"  // an address, or { several }
	nodeAddresses6 = "<NodeAddresses6>" // likewise, of IPv6
	nodeAddress    = "<NodeAddress>"    // one; the earlier program takes a line for each
)

// external are the rule sets for a gateway or a host outside the cluster, for
// this program and for the earlier one. No rule lacks an address: a gateway
// forwards what is none of ours.
func (f *funneling) external(s *corev1.Service, through corev1.ServicePort) map[string]string {
	to := outside(s)
	slices.SortFunc(to.addresses, netip.Addr.Compare)
	data := map[string]string{
		v1alpha1.FileEgress:  orNothing(f.egress([]reach{to}, f.emitOutside).String(), noEgress(s, to)),
		v1alpha1.FileIngress: nothing("what answers the egress rules is undone by them"),
		externalEgressPeer:   "",
		externalIngressPeer:  "",
	}
	for _, p := range f.peers() {
		if to.masqueraded && f.lost(p.inner, p.sources()) {
			continue
		}
		for _, a := range to.addresses {
			if a.Is4() {
				data[externalEgressPeer] += p.egress(a.String(), f.port)
				data[externalIngressPeer] += p.ingress(a.String(), f.port)
			}
		}
	}
	for _, key := range []string{externalEgressPeer, externalIngressPeer} {
		data[key] = orNothing(data[key], f.noPeer())
	}
	if through.NodePort != 0 {
		f.nodePorts(data, s, uint16(through.NodePort), to.masqueraded)
	}
	return data
}

func orNothing(text, why string) string {
	if text == "" {
		return nothing(why)
	}
	return text
}

func nothing(why string) string { return "# no rules: " + why + "\n" }

// noEgress says why there are no rules for addresses of the Service.
func noEgress(s *corev1.Service, to reach) string {
	switch _, unusable := serviceAddresses(s); {
	case len(to.addresses) == 0 && len(unusable) > 0:
		return fmt.Sprintf("outside the cluster the Service is known by %s only, which no rule can match; rules for the addresses behind it: docs/compatibility.md, cloud load balancers", strings.Join(unusable, ", "))
	case len(to.addresses) == 0:
		return "the Service has no load-balancer or external IP"
	}
	return "the load-balancer and external IPs masquerade clients, and source ports are needed: set the Service's externalTrafficPolicy to Local"
}

func (f *funneling) noPeer() string {
	if f.encapsulation == v1alpha1.EncapsulationInline {
		return "encapsulation is Inline, and the earlier program pushes"
	}
	return "the Service has no IPv4 address for clients outside the cluster, or masquerades them where source ports are needed"
}

// emitOutside is emit with one source port: a load balancer that hashes it would
// move the stream with each next one.
func (f *funneling) emitOutside(inner rules.Protocol) (rules.Action, bool) {
	a, emitted := f.emit(inner)
	a.SourcePorts.Last = a.SourcePorts.First
	return a, emitted
}

// nodePorts adds the templates for the node port to which everything is sent.
func (f *funneling) nodePorts(data map[string]string, s *corev1.Service, port uint16, masqueraded bool) {
	through := *f
	through.port = port
	var own, egress, ingress strings.Builder
	for _, inner := range innerProtocols {
		a, emitted := through.emitOutside(inner)
		if !emitted || masqueraded && !a.Inline && f.lost(inner, a.SourcePorts) {
			continue
		}
		r := rules.Rule{Protocol: inner, DestinationPorts: f.inner[inner], Action: a}.Canonical()
		for _, to := range nodeFamilies(s) {
			fmt.Fprintf(&own, "%s %s\n", to, r)
		}
	}
	for _, p := range f.peers() {
		if !masqueraded || !f.lost(p.inner, p.sources()) {
			egress.WriteString(p.egress(nodeAddress, port))
			ingress.WriteString(p.ingress(nodeAddress, port))
		}
	}
	data[externalEgressNodePort] = orNothing(own.String(), "the node port masquerades clients, and source ports are needed")
	data[externalEgressNodePortPeer] = orNothing(egress.String(), f.noPeer())
	data[externalIngressNodePortPeer] = orNothing(ingress.String(), f.noPeer())
}

// nodeFamilies are the matches of node addresses, by the families of the Service.
func nodeFamilies(s *corev1.Service) []string {
	var matches []string
	for _, text := range serviceTexts(s) {
		switch a, err := netip.ParseAddr(text); {
		case err != nil:
		case a.Is4():
			matches = append(matches, "ip daddr "+nodeAddresses)
		default:
			matches = append(matches, "ip6 daddr "+nodeAddresses6)
		}
	}
	return unique(matches)
}

// peer is what the earlier program does to one inner protocol: it pushes, with
// one port in each place, on IPv4.
type peer struct {
	outer, inner rules.Protocol
	ports        []uint16
	source       uint16
}

func (f *funneling) peers() []peer {
	var all []peer
	for _, inner := range innerProtocols {
		if f.takesPushed(inner) {
			p := peer{outer: f.protocol, inner: inner, source: f.outer[inner].First}
			for _, r := range f.inner[inner].Ranges {
				p.ports = append(p.ports, r.First) // each is one port
			}
			slices.Sort(p.ports)
			all = append(all, p)
		}
	}
	return all
}

func (p peer) sources() rules.PortRange { return rules.PortRange{First: p.source, Last: p.source} }

func (p peer) egress(to string, through uint16) string {
	var text strings.Builder
	for _, port := range p.ports {
		fmt.Fprintf(&text, "ip daddr %s %v dport %d actions funnel %v dport %d sport %d\n", to, p.inner, port, p.outer, through, p.source)
	}
	return text.String()
}

func (p peer) ingress(from string, through uint16) string {
	return fmt.Sprintf("ip saddr %s %v sport %d dport %d actions unfunnel %v\n", from, p.outer, through, p.source, p.inner)
}
