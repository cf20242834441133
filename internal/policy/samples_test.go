// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sfunnel-io/funnel-operator/internal/docs"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// allocate gives Services without a cluster IP one, as the API server does.
func allocate(services map[types.NamespacedName]*corev1.Service) {
	for _, s := range services {
		if s.Spec.ClusterIP == "" && s.Spec.Type != corev1.ServiceTypeExternalName {
			s.Spec.ClusterIP = "10.96.0.1"
		}
	}
}

// flow is one that a sample or a page of the documentation funnels: from a client's pod to an inner port of a
// server's pod. inKind says that no rules are about its answers.
type flow struct {
	file, client, server string
	protocol             rules.Protocol
	port                 uint16
	inKind               bool
}

func TestSamplesFunnelEachFlowThereAndBack(t *testing.T) {
	for _, f := range []flow{
		{"telemetry", "exporter", "collector", rules.UDP, 2055, true},
		{"telemetry", "exporter", "collector", rules.UDP, 4739, true},
		{"web", "client", "web", rules.TCP, 8080, true},
		{"web-explicit-rules", "client", "web", rules.TCP, 8080, false},
		{"quic", "browser", "site", rules.TCP, 443, true},
		{"quic", "browser", "site", rules.TCP, 8080, true},
		{"quic", "browser", "site", rules.UDP, 443, true},
		{"docs/guides/telemetry.md", "exporter", "collector", rules.UDP, 2055, true},
		{"docs/guides/telemetry.md", "exporter", "collector", rules.UDP, 4739, true},
		{"docs/guides/telemetry.md", "exporter", "collector", rules.UDP, 6343, true},
		{"docs/guides/web.md", "browser", "web", rules.TCP, 8080, true},
		{"docs/guides/quic.md", "browser", "site", rules.TCP, 443, true},
		{"docs/guides/quic.md", "browser", "site", rules.TCP, 8080, true},
		{"docs/guides/quic.md", "browser", "site", rules.UDP, 443, true},
	} {
		t.Run(fmt.Sprint(f.file, " ", f.protocol, " ", f.port), func(t *testing.T) {
			path := readPath(t, f)
			if err := path.there(f.protocol, f.port); err != nil {
				t.Fatal(err)
			}
			if err := path.back(f.protocol, f.port); (err == nil) == f.inKind {
				t.Errorf("answered by rules: %v", err)
			}
			if path.inKind != f.inKind {
				t.Errorf("answered in kind: %v", path.inKind)
			}
			path.mustLeaveRegularTrafficAlone(t)
		})
	}
}

// path is what lies between a client and a server.
type path struct {
	client, server       *Program
	clientIP, podIP, vip netip.Addr
	through, target      uint16 // Service port and container port
	outer                rules.Packet
	inKind               bool // both rules on the way there answer
}

const clientPort = 33333

func readPath(t *testing.T, f flow) *path {
	t.Helper()
	w := mustReadText(t, f.text(t))
	allocate(w.services)
	p := &path{clientIP: netip.MustParseAddr("10.1.0.5"), podIP: netip.MustParseAddr("10.1.1.7"), vip: netip.MustParseAddr("10.96.0.1"), target: 8081}
	for _, s := range w.services {
		p.through = uint16(s.Spec.Ports[0].Port)
		if number := s.Spec.Ports[0].TargetPort.IntVal; number != 0 {
			p.target = uint16(number)
		}
	}
	if p.through == p.target {
		t.Errorf("the sample shows one number for both: %d", p.through)
	}
	for _, one := range w.policies {
		program, errs := Compile(one, w.cluster(one))
		if len(errs)+len(program.Unresolved)+len(program.Warnings) > 0 {
			t.Errorf("%s: %v %v %v", one.Name, errs, program.Unresolved, program.Warnings)
		}
		switch one.Name {
		case f.client:
			p.client = program
		case f.server:
			p.server = program
		}
	}
	return p
}

// text is what the sample holds, or what the page shows.
func (f flow) text(t *testing.T) string {
	t.Helper()
	if !strings.HasSuffix(f.file, ".md") {
		return mustReadFile(t, filepath.Join("..", "..", "config", "samples", f.file+".yaml"))
	}
	page, err := docs.Read(f.file)
	if err != nil {
		t.Fatal(err)
	}
	var documents []string
	for _, block := range page.Blocks("yaml") {
		documents = append(documents, block.Text)
	}
	return strings.Join(documents, "\n---\n")
}

// there sends a packet from the client to the server's inner port.
func (p *path) there(protocol rules.Protocol, port uint16) error {
	inner := rules.Packet{Source: p.clientIP, Destination: p.vip, Protocol: protocol, SourcePort: clientPort, DestinationPort: port}
	outer, err := funnel(p.client.Egress, inner)
	if err != nil {
		return err
	}
	i, _ := p.client.Egress.Match(inner)
	p.inKind = answersInKind(p.client.Egress[i].Action)
	if outer.DestinationPort != p.through {
		return fmt.Errorf("travels through %d, and the Service lists %d", outer.DestinationPort, p.through)
	}
	outer.Destination, outer.DestinationPort = p.podIP, p.target
	p.outer = outer
	if j, ok := p.server.Ingress.Match(outer); ok {
		p.inKind = p.inKind && answersInKind(p.server.Ingress[j].Action)
	}
	return unfunnel(p.server.Ingress, outer, protocol, port)
}

func answersInKind(a rules.Action) bool { return a.Inline || a.Reply }

// back answers.
func (p *path) back(protocol rules.Protocol, port uint16) error {
	outer, err := funnel(p.server.Egress, rules.Packet{Source: p.podIP, Destination: p.clientIP, Protocol: protocol, SourcePort: port, DestinationPort: clientPort})
	if err != nil {
		return err
	}
	if outer.SourcePort != p.outer.DestinationPort || outer.DestinationPort != p.outer.SourcePort {
		return fmt.Errorf("%+v is no answer to %+v", outer, p.outer)
	}
	outer.Source, outer.SourcePort = p.vip, p.through
	return unfunnel(p.client.Ingress, outer, protocol, clientPort)
}

// mustLeaveRegularTrafficAlone: who uses the through port as what it is.
func (p *path) mustLeaveRegularTrafficAlone(t *testing.T) {
	t.Helper()
	for _, step := range []struct {
		where  rules.RuleSet
		packet rules.Packet
	}{
		{p.client.Egress, rules.Packet{Source: p.clientIP, Destination: p.vip, Protocol: rules.TCP, SourcePort: clientPort, DestinationPort: p.through}},
		{p.server.Ingress, rules.Packet{Source: p.clientIP, Destination: p.podIP, Protocol: rules.TCP, SourcePort: clientPort, DestinationPort: p.target}},
		{p.server.Egress, rules.Packet{Source: p.podIP, Destination: p.clientIP, Protocol: rules.TCP, SourcePort: p.target, DestinationPort: clientPort}},
		{p.client.Ingress, rules.Packet{Source: p.vip, Destination: p.clientIP, Protocol: rules.TCP, SourcePort: p.through, DestinationPort: clientPort}},
	} {
		// Packets without marks pass a rule for inline untouched.
		if i, matches := step.where.Match(step.packet); matches && !step.where[i].Action.Inline {
			t.Errorf("%+v meets %v", step.packet, step.where[i])
		}
	}
}

// funnel returns the outer header that the rules push.
func funnel(rs rules.RuleSet, p rules.Packet) (rules.Packet, error) {
	i, ok := rs.Match(p)
	if !ok || rs[i].Action.Verb != rules.Funnel {
		return p, fmt.Errorf("%+v is not funneled by\n%v", p, rs)
	}
	a := rs[i].Action
	p.Protocol, p.DestinationPort = a.Protocol, a.Port
	if !a.Inline {
		p.SourcePort, p.Pushed = a.SourcePorts.First, a.Protocol == rules.TCP
	}
	return p, nil
}

// unfunnel says why the rules don't bring the inner packet to light.
func unfunnel(rs rules.RuleSet, outer rules.Packet, inner rules.Protocol, port uint16) error {
	i, ok := rs.Match(outer)
	if !ok || rs[i].Action.Verb != rules.Unfunnel || rs[i].Action.Protocol != inner || !rs[i].Action.Ports.Contains(port) {
		return fmt.Errorf("%+v with %v port %d inside is not unfunneled by\n%v", outer, inner, port, rs)
	}
	return nil
}
