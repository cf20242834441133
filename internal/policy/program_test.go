// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

const baseRules = `
egress:
- name: https
  match: {protocol: TCP, destinationPorts: {values: ["443", "8080"]}, destination: {cidrs: [10.0.0.1, 10.0.0.2]}}
  funnel: {protocol: TCP, destinationPort: 80, sourcePorts: "540"}
- match: {protocol: UDP}
  drop: {}
`

func TestDigest(t *testing.T) {
	compile := func(change func(*v1alpha1.FunnelPolicy)) *Program {
		p := withRules(t, baseRules)
		change(p)
		program, errs := Compile(p, Cluster{})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		return program
	}
	base := compile(func(*v1alpha1.FunnelPolicy) {})
	if !regexp.MustCompile(`^sha256:[0-9a-f]{32}$`).MatchString(base.Digest) {
		t.Errorf("digest %q", base.Digest)
	}
	for _, test := range []struct {
		name    string
		change  func(*v1alpha1.FunnelPolicy)
		changes bool
	}{
		{"policy name", func(p *v1alpha1.FunnelPolicy) { p.Name = "other" }, false},
		{"rule name", func(p *v1alpha1.FunnelPolicy) { p.Spec.Rules.Egress[0].Name = "other" }, false},
		{"selector", func(p *v1alpha1.FunnelPolicy) { p.Spec.PodSelector.MatchLabels = map[string]string{"app": "web"} }, false},
		{"labels and annotations", func(p *v1alpha1.FunnelPolicy) {
			p.Labels, p.Annotations = map[string]string{"a": "b"}, map[string]string{"a": "b"}
		}, false},
		{"order of ports", func(p *v1alpha1.FunnelPolicy) { slices.Reverse(p.Spec.Rules.Egress[0].Match.DestinationPorts.Values) }, false},
		{"order of addresses", func(p *v1alpha1.FunnelPolicy) { slices.Reverse(p.Spec.Rules.Egress[0].Match.Destination.CIDRs) }, false},
		{"mtu spelled out", func(p *v1alpha1.FunnelPolicy) { p.Spec.MTU = v1alpha1.MTUWarn }, false},
		{"the same rules as text", func(p *v1alpha1.FunnelPolicy) {
			p.Spec.Rules = v1alpha1.Rules{Text: &v1alpha1.RulesText{Egress: "# comment\nip daddr {10.0.0.2, 10.0.0.1} tcp dport {443, 8080} funnel tcp dport 80 sport 540\nudp drop"}}
		}, false},
		{"order of rules", func(p *v1alpha1.FunnelPolicy) { slices.Reverse(p.Spec.Rules.Egress) }, true},
		{"a rule", func(p *v1alpha1.FunnelPolicy) { p.Spec.Rules.Egress[0].Funnel.DestinationPort = 81 }, true},
		{"direction", func(p *v1alpha1.FunnelPolicy) {
			p.Spec.Rules.Ingress, p.Spec.Rules.Egress = p.Spec.Rules.Egress, nil
		}, true},
		{"priority", func(p *v1alpha1.FunnelPolicy) { p.Spec.Priority = 1 }, true},
		{"interfaces", func(p *v1alpha1.FunnelPolicy) { p.Spec.Interfaces = []string{"eth0"} }, true},
		{"mtu", func(p *v1alpha1.FunnelPolicy) { p.Spec.MTU = v1alpha1.MTUReserve }, true},
		{"flows spelled out", func(p *v1alpha1.FunnelPolicy) { p.Spec.Flows = v1alpha1.DefaultFlows }, false},
		{"flows", func(p *v1alpha1.FunnelPolicy) { p.Spec.Flows = 64 }, true},
		{"mode spelled out", func(p *v1alpha1.FunnelPolicy) { p.Spec.Rules.Egress[0].Funnel.Mode = v1alpha1.ModePush }, false},
		{"mode", func(p *v1alpha1.FunnelPolicy) {
			p.Spec.Rules.Egress[0].Funnel.Mode, p.Spec.Rules.Egress[0].Funnel.SourcePorts = v1alpha1.ModeInline, ""
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := compile(test.change).Digest != base.Digest; got != test.changes {
				t.Errorf("digest changes: %v", got)
			}
		})
	}
}

func TestDigestFollowsServiceAddresses(t *testing.T) {
	p := withRules(t, "egress: [{match: {protocol: TCP, destination: {service: {name: web}}}, drop: {}}]")
	before, _ := Compile(p, Cluster{Services: clusterIPs("web", "10.96.0.1")})
	after, _ := Compile(p, Cluster{Services: clusterIPs("web", "10.96.0.2")})
	if before.Digest == "" || before.Digest == after.Digest {
		t.Errorf("before %q, after %q", before.Digest, after.Digest)
	}
}

func clusterIPs(name string, ips ...string) map[types.NamespacedName]*corev1.Service {
	s := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: ips[0], ClusterIPs: ips}}
	s.Namespace, s.Name = "shop", name
	return map[types.NamespacedName]*corev1.Service{{Namespace: "shop", Name: name}: s}
}

// Maps are walked in another order at each run.
func TestCompileTwiceIsByteEqual(t *testing.T) {
	p := withRules(t, baseRules)
	services := map[types.NamespacedName]*corev1.Service{}
	for i := range 20 {
		name := fmt.Sprintf("web-%d", i)
		ref := &v1alpha1.Peer{Service: &v1alpha1.ServiceReference{Name: name}}
		p.Spec.Rules.Ingress = append(p.Spec.Rules.Ingress, v1alpha1.Rule{Match: v1alpha1.Match{Protocol: v1alpha1.TCP, Source: ref}, Drop: &v1alpha1.Drop{}})
		for key, s := range clusterIPs(name, fmt.Sprintf("10.96.0.%d", i)) {
			services[key] = s
		}
	}
	first, errs := Compile(p, Cluster{Services: services})
	if len(errs) > 0 || first.Data == nil {
		t.Fatal(errs)
	}
	for range 50 {
		if again, _ := Compile(p, Cluster{Services: services}); !cmp.Equal(first, again, cmp.Comparer(sameRules)) {
			t.Fatal(cmp.Diff(first, again, cmp.Comparer(sameRules)))
		}
	}
}

func sameRules(a, b rules.RuleSet) bool { return a.String() == b.String() }

// What the pod reads is what was compiled.
func TestDataParsesBack(t *testing.T) {
	program, errs := Compile(withRules(t, baseRules), Cluster{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	parsed, err := rules.Parse(program.Data[v1alpha1.FileEgress])
	if err != nil || !sameRules(parsed, program.Egress) {
		t.Errorf("%v: %v", err, parsed)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(program.Data[v1alpha1.FileSettings]), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"policy": "web", "digest": program.Digest, "priority": 0.0, "mtu": "Warn"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCompileLeavesPolicyAndServicesAlone(t *testing.T) {
	p := withRules(t, "egress: [{match: {protocol: TCP, destination: {service: {name: web}}, destinationPorts: {values: ['443', '80']}}, drop: {}}]")
	p.Spec.Interfaces = []string{"net1", "eth0"}
	services := clusterIPs("web", "10.96.0.1")
	service := services[types.NamespacedName{Namespace: "shop", Name: "web"}]
	service.Spec.ExternalIPs = []string{"203.0.113.1"}
	before, serviceBefore := p.DeepCopy(), service.DeepCopy()
	Compile(p, Cluster{Services: services})
	if diff := cmp.Diff(before, p); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(serviceBefore, service); diff != "" {
		t.Error(diff)
	}
}

func TestReferencesAreSortedAndUnique(t *testing.T) {
	p := withRules(t, `
ingress:
- {match: {protocol: TCP, source: {service: {name: web}}, destination: {service: {name: web, namespace: shop}}}, drop: {}}
egress:
- {match: {protocol: TCP, destination: {service: {name: dns, namespace: infra}}}, drop: {}}
- {match: {protocol: TCP, destination: {cidrs: [10.0.0.1]}}, drop: {}}
- {match: {protocol: TCP, destination: {service: {name: api}}}, drop: {}}
`)
	if got, want := fmt.Sprint(References(p)), "[infra/dns shop/api shop/web]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestLimits(t *testing.T) {
	longest := strings.Repeat("udp drop\n", rules.MaxRules)
	for _, test := range []struct {
		name   string
		policy *v1alpha1.FunnelPolicy
		reason string
		detail string
	}{
		{"as many rules as there may be, both ways", withText(longest, longest), v1alpha1.ReasonAccepted, ""},
		{"one rule more", withText(longest+"tcp drop", ""), v1alpha1.ReasonTooManyRules, "line 4097, column 1: more than 4096 rules in one rule set"},
		{"a fault besides", withText(longest+"tcp drop", "tcp"), v1alpha1.ReasonInvalid, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			program, errs := Compile(test.policy, Cluster{})
			if got := Reason(errs); got != test.reason {
				t.Errorf("got %s, want %s: %.300v", got, test.reason, errs)
			}
			if (program.Data != nil) != (len(errs) == 0) {
				t.Errorf("data present: %v, faults: %d", program.Data != nil, len(errs))
			}
			if len(errs) > 0 && !strings.Contains(errs[0].Error(), test.detail) {
				t.Errorf("got %v", errs[0])
			}
		})
	}
}

// The lists of IPv4 rules that the schema allows always fit; those with IPv6
// addresses don't.
func TestRulesThatDontFitIntoAConfigMap(t *testing.T) {
	long := rules.Rule{Family: rules.IPv6, Protocol: rules.UDP, Action: rules.Action{Verb: rules.Drop}}
	for i := range 32 {
		long.Source.Prefixes = append(long.Source.Prefixes, netip.MustParsePrefix(fmt.Sprintf("2001:db8:aaaa:bbbb:cccc:dddd:eeee:%x/128", 0x1000+2*i)))
	}
	long.Destination = long.Source
	for _, test := range []struct {
		rules int
		fits  bool
	}{{100, true}, {1000, false}} {
		c := &compiler{policy: withText("", ""), program: &Program{Egress: slices.Repeat(rules.RuleSet{long}, test.rules)}}
		c.finish(field.NewPath("spec", "rules"))
		if fits := c.program.Data != nil; fits != test.fits || fits != (len(c.errs) == 0) {
			t.Errorf("%d rules: fits: %v, %v", test.rules, fits, c.errs)
		}
		if !test.fits && Reason(c.errs) != v1alpha1.ReasonTooManyRules {
			t.Errorf("reason %s", Reason(c.errs))
		}
		if want := "several policies, which have at most 4096 rules per direction together"; !test.fits && !strings.Contains(c.errs.ToAggregate().Error(), want) {
			t.Errorf("%v does not say %q", c.errs, want)
		}
	}
}

func TestOverhead(t *testing.T) {
	for _, test := range []struct {
		text string
		want int
	}{
		{"tcp accept", 0},
		{"tcp unfunnel udp", 0},
		{"udp dport 53 funnel udp dport 80 sport 540", 8},
		{"udp dport 53 funnel udp dport 80 sport 540; tcp dport 22 funnel tcp dport 80 sport 541", 20},
		{"tcp dport 443 funnel tcp dport 80 inline", 0},
		{"tcp pushed unfunnel udp dport 443 reply", 20},
		{"udp sport 540 unfunnel tcp dport 443 reply", 8},
		{"tcp unfunnel tcp inline dport 443", 0},
	} {
		if got, _ := Compile(withText(test.text, ""), Cluster{}); got.Overhead != test.want {
			t.Errorf("%s: %d", test.text, got.Overhead)
		}
	}
}
