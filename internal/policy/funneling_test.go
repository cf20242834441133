// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// A Service 80 -> 8081 at a cluster IP, and at an external one where clients are
// masqueraded.
var (
	clusterIP  = netip.MustParseAddr("10.96.0.1")
	externalIP = netip.MustParseAddr("192.0.2.1")
	someClient = netip.MustParseAddr("10.1.0.5")
	somePod    = netip.MustParseAddr("10.1.1.7")
)

// masqueraded is a source port that masquerading may draw for one from 512 to 1023.
const masqueraded = 777

// Source ports of pushed headers: the default ones, and some of which masquerading
// may draw one of TCP's for UDP.
var (
	usual = map[rules.Protocol]rules.PortRange{rules.TCP: {First: 540, Last: 547}, rules.UDP: {First: 548, Last: 555}}
	mixed = map[rules.Protocol]rules.PortRange{rules.TCP: {First: 600, Last: 1023}, rules.UDP: {First: 548, Last: 548}}
)

func everyFunneling() []*funneling {
	return append(everyFunnelingFrom(usual), everyFunnelingFrom(mixed)...)
}

func everyFunnelingFrom(outer map[rules.Protocol]rules.PortRange) []*funneling {
	var all []*funneling
	for _, through := range innerProtocols {
		for _, e := range []v1alpha1.Encapsulation{v1alpha1.EncapsulationAuto, v1alpha1.EncapsulationPush, v1alpha1.EncapsulationInline} {
			for ports := 1; ports <= 3; ports++ { // bit 0: TCP 8080 and 9090, bit 1: UDP 443
				if e == v1alpha1.EncapsulationInline && (through == rules.UDP || ports > 1) {
					continue // refused
				}
				f := &funneling{protocol: through, port: 80, targets: []uint16{8081}, encapsulation: e, inner: map[rules.Protocol]rules.PortSet{}, outer: outer}
				if ports&1 != 0 {
					f.inner[rules.TCP] = rules.PortSet{Ranges: []rules.PortRange{{First: 8080, Last: 8080}, {First: 9090, Last: 9090}}}
				}
				if ports&2 != 0 {
					f.inner[rules.UDP] = onePort(443)
				}
				all = append(all, f)
			}
		}
	}
	return all
}

func (f *funneling) String() string {
	return fmt.Sprintf("%v through %v, %d TCP, %d UDP, from %v", f.encapsulation, f.protocol, len(f.inner[rules.TCP].Ranges), len(f.inner[rules.UDP].Ranges), f.outer)
}

// What clients emit in the cluster, and gateways outside, the backend undoes, for
// each source port of a range; and also when it is drawn anew, where clients are
// told to funnel to an address that masquerades.
func TestBackendUndoesWhatClientsEmit(t *testing.T) {
	to := []reach{{addresses: []netip.Addr{clusterIP}}, {addresses: []netip.Addr{externalIP}, masqueraded: true}}
	for _, f := range everyFunneling() {
		t.Run(f.String(), func(t *testing.T) {
			for _, egress := range []rules.RuleSet{f.egress(to, f.emit), f.egress(to, f.emitOutside)} {
				for _, inner := range innerProtocols {
					for _, r := range f.inner[inner].Ranges {
						f.mustTravel(t, egress, clusterIP, inner, r.First, true)
						f.mustTravel(t, egress, externalIP, inner, r.First, false)
					}
				}
			}
		})
	}
}

func (f *funneling) mustTravel(t *testing.T, egress rules.RuleSet, vip netip.Addr, inner rules.Protocol, port uint16, required bool) {
	t.Helper()
	i, ok := egress.Match(rules.Packet{Source: someClient, Destination: vip, Protocol: inner, SourcePort: 33333, DestinationPort: port})
	if !ok {
		if required {
			t.Errorf("%v %d to %s is not funneled by\n%v", inner, port, vip, egress)
		}
		return
	}
	a := egress[i].Action
	sources := []uint16{a.SourcePorts.First, a.SourcePorts.Last}
	if vip == externalIP {
		sources = []uint16{masqueraded}
	}
	for _, source := range sources {
		outer := rules.Packet{Source: someClient, Destination: somePod, Protocol: a.Protocol, SourcePort: source, DestinationPort: 8081, Pushed: !a.Inline && a.Protocol == rules.TCP}
		j, ok := f.ingress().Match(outer)
		if !ok {
			t.Errorf("%v from %d meets no rule of\n%v", egress[i], source, f.ingress())
			continue
		}
		if got := f.ingress()[j].Action; got.Verb != rules.Unfunnel || got.Protocol != inner || got.Inline != a.Inline || !got.Ports.Contains(port) || !a.Inline && !got.Reply {
			t.Errorf("%v from %d meets %v", egress[i], source, f.ingress()[j])
		}
	}
}

// Under Auto UDP survives masquerading, unless a source port of TCP may be drawn for it.
func TestMasqueradedUDPIsMistakenForTCP(t *testing.T) {
	for _, test := range []struct {
		tcp, udp string
		mistaken bool
	}{
		{"540-547", "548-555", false},
		{"540", "541", false},
		{"600-1023", "548", true},
		{"700-703", "710", true},
		{"512-600", "601", true},
		{"512-599", "601", false},
		{"1023", "512", true},
		{"1024", "1023", false},
		{"1-10", "11", true},
		{"1-10", "511-512", true},
		{"1-10", "512", false},
		{"540-547", "1024-1030", false},
		{"65535", "1024", true},
	} {
		tcp, _ := parsePortRange(test.tcp)
		udp, _ := parsePortRange(test.udp)
		for _, f := range everyFunnelingFrom(map[rules.Protocol]rules.PortRange{rules.TCP: tcp, rules.UDP: udp}) {
			auto := f.protocol == rules.TCP && f.encapsulation == v1alpha1.EncapsulationAuto && f.funnels(rules.TCP) && f.funnels(rules.UDP)
			if got := f.mistaken(rules.UDP, udp); got != (test.mistaken && auto) {
				t.Errorf("%v: %v", f, got)
			}
		}
	}
}

// Under Auto a backend also takes TCP that others push.
func TestAutoTakesPushedTCP(t *testing.T) {
	for _, f := range everyFunneling() {
		if f.encapsulation != v1alpha1.EncapsulationAuto || f.protocol != rules.TCP || !f.funnels(rules.TCP) {
			continue
		}
		j, ok := f.ingress().Match(rules.Packet{Source: someClient, Destination: somePod, Protocol: rules.TCP, SourcePort: f.outer[rules.TCP].First, DestinationPort: 8081, Pushed: true})
		if !ok || f.ingress()[j].Action.Inline || f.ingress()[j].Action.Protocol != rules.TCP {
			t.Errorf("%v: pushed TCP meets %v of\n%v", f, j, f.ingress())
		}
	}
}

// Whoever uses the through port as what it is meets no rule that would change it:
// packets without marks pass the rule for inline untouched.
func TestRegularTrafficOfTheThroughPort(t *testing.T) {
	for _, f := range everyFunneling() {
		p := rules.Packet{Source: someClient, Destination: somePod, Protocol: f.protocol, SourcePort: 33333, DestinationPort: 8081}
		if j, ok := f.ingress().Match(p); ok && !f.ingress()[j].Action.Inline {
			t.Errorf("%v: meets %v", f, f.ingress()[j])
		}
	}
}

// The earlier program's grammar: single addresses and ports, one funnel or
// unfunnel, in the words of its documentation.
var earlier = regexp.MustCompile(`^ip [sd]addr [0-9.]+ (tcp|udp)( sport [0-9]+)?( dport [0-9]+)? actions (funnel (tcp|udp) dport [0-9]+ sport [0-9]+|unfunnel (tcp|udp))$`)

func TestExternalRules(t *testing.T) {
	s := &corev1.Service{Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1", "fd00::1"}, ExternalIPs: []string{"192.0.2.1", "2001:db8::1"},
	}}
	for _, policy := range []corev1.ServiceExternalTrafficPolicy{corev1.ServiceExternalTrafficPolicyLocal, corev1.ServiceExternalTrafficPolicyCluster} {
		s.Spec.ExternalTrafficPolicy = policy
		for _, f := range everyFunneling() {
			t.Run(fmt.Sprint(policy, " ", f), func(t *testing.T) {
				for key, text := range f.external(s, corev1.ServicePort{Port: 80, NodePort: 30080}) {
					checkExternal(t, key, text)
				}
			})
		}
	}
}

func checkExternal(t *testing.T, key, text string) {
	t.Helper()
	template := strings.Contains(key, "nodeport")
	if _, err := rules.Parse(text); (err != nil) != (template && !strings.HasPrefix(text, "#")) {
		t.Errorf("%s: parses as it is: %v", key, err)
	}
	filled := strings.NewReplacer(nodeAddresses6, "fd00::2", nodeAddresses, "{ 192.0.2.2, 192.0.2.3 }", nodeAddress, "192.0.2.2").Replace(text)
	rs, err := rules.Parse(filled)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	for _, r := range rs {
		if len(r.Destination.Prefixes)+len(r.Source.Prefixes) == 0 {
			t.Errorf("%s: %v names no address", key, r)
		}
		if r.Action.SourcePorts.First != r.Action.SourcePorts.Last {
			t.Errorf("%s: %v moves through source ports", key, r)
		}
	}
	if !strings.Contains(key, "peer") {
		return
	}
	for _, line := range strings.Split(strings.TrimSpace(filled), "\n") {
		if !strings.HasPrefix(line, "#") && !earlier.MatchString(line) {
			t.Errorf("%s: the earlier program can't read %q", key, line)
		}
	}
}

func TestGatewaysAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "gateways.md"))
	if err != nil {
		t.Fatal(err)
	}
	s := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1"}}
	names := []string{nodeAddresses, nodeAddresses6, nodeAddress}
	for key := range everyFunneling()[0].external(s, corev1.ServicePort{NodePort: 30080}) {
		names = append(names, key)
	}
	for _, name := range names {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/gateways.md does not mention %s", name)
		}
	}
}
