// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

var _ = DescribeTable("accepted",
	func(object manifest) {
		Expect(refusals(object)).To(BeEmpty())
		Expect(offline(object.object())).To(BeEmpty(), "without a server")
		lintAgrees(object, nil)
	},

	Entry("a name of 52 characters", named(strings.Repeat("x", 52), "podSelector: {}\nrules: {text: {egress: udp drop}}")),
	Entry("every operator of a selector", selecting("{matchExpressions: [{key: a, operator: In, values: [x]}, {key: b, operator: NotIn, values: [x]}, {key: c, operator: Exists}, {key: d, operator: DoesNotExist, values: []}]}")),
	Entry("a list for one direction, text for the other", holding("egress: [{match: {protocol: UDP}, drop: {}}]\ningress: []\ntext: {ingress: udp drop}")),
	Entry("equal names in different directions", holding("egress: [{name: a, match: {protocol: UDP}, drop: {}}]\ningress: [{name: a, match: {protocol: UDP}, drop: {}}]")),
	Entry("addresses of both families", match(`{protocol: TCP, source: {cidrs: [10.0.0.1, 10.0.0.0/8, "2001:db8::1", "2001:db8::/32", 0.0.0.0/0, "::/0"]}, destination: {cidrs: ["::1"]}}`)),
	Entry("a Service of another namespace, and none of another", match("{protocol: TCP, source: {service: {name: web}, not: true}, destination: {service: {name: web, namespace: shop}}}")),
	Entry("the outermost ports", ports(`["1", "65535", "1-65535", "80-80"]`)),
	Entry("pushed TCP", rule("match: {protocol: TCP, pushed: true, family: IPv4, destinationPorts: {values: [\"80\"], not: true}}\nunfunnel: {protocol: UDP, destinationPorts: {values: [\"443\"]}}")),
	Entry("a range of outer source ports", action(`funnel: {protocol: UDP, destinationPort: 65535, sourcePorts: "540-547"}`)),
	Entry("a backend in few words", backend("")),
	Entry("a backend with all there is", backend(`
through: {port: bgp, protocol: TCP}
ports: [{port: 80, protocol: UDP}, {port: 80, protocol: TCP}]
encapsulation: Push
sourcePorts: {tcp: "600-603", udp: "540"}
sourceCIDRs: [10.0.0.0/8, "2001:db8::1"]
clients: {namespaceSelector: {matchLabels: {team: shop}, matchExpressions: [{key: a, operator: Exists}]}}`)),
	Entry("a backend for clients of all namespaces", backend("clients: {namespaceSelector: {}}")),
	Entry("UDP of the through port's number", backend("ports: [{port: 80, protocol: UDP}]")),
	Entry("source ports around UDP alone that TCP has where none are given", backend("ports: [{port: 443, protocol: UDP}]\nsourcePorts: {udp: '540'}")),
	Entry("source ports around TCP alone that UDP has where none are given", backend("ports: [{port: 443}]\nsourcePorts: {tcp: 540-560}")),
	Entry("a client", refers("{name: web}")),
	Entry("a client of another namespace", refers("{name: web, namespace: shop}")),
	Entry("funneled inline", action("funnel: {protocol: TCP, destinationPort: 80, mode: Inline}")),
	Entry("unfunneled inline", action(`unfunnel: {protocol: TCP, mode: Inline, destinationPorts: {values: ["443"]}}`)),
	Entry("pushed, with replies", action(`funnel: {protocol: TCP, destinationPort: 80, mode: Push, sourcePorts: "540", reply: true}`)),
	Entry("taken off, with replies", action("unfunnel: {protocol: UDP, reply: true}")),
	Entry("interfaces, priority, mtu", with("interfaces: [eth0, net1.100, abcdefghijklmno]\npriority: -1000000\nmtu: Warn")),
	Entry("mtu and the fewest flows", with("mtu: Reserve\nflows: 64")),
	Entry("the most flows", with("flows: 1048576")),
)

var _ = Describe("the largest object", func() {
	It("is stored with the longest lists", func() {
		p := &v1alpha1.FunnelPolicy{Spec: v1alpha1.FunnelPolicySpec{Rules: v1alpha1.Rules{
			Egress: longestList(), Ingress: longestList(),
		}}}
		store("lists", p)
	})
	It("is stored with a backend of the longest lists", func() {
		b := &v1alpha1.Backend{
			Service: strings.Repeat("x", 63), Through: v1alpha1.ThroughPort{Port: intstr.FromString(strings.Repeat("x", 63))},
			SourceCIDRs: repeat(32, "abcd:abcd:abcd:abcd:abcd:abcd:255.255.255.255/128"),
			Clients:     &v1alpha1.BackendClients{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}},
		}
		for i := range int32(64) {
			b.Ports = append(b.Ports, v1alpha1.FunneledPort{Port: 65535 - i, Protocol: v1alpha1.UDP})
		}
		store("backend", &v1alpha1.FunnelPolicy{Spec: v1alpha1.FunnelPolicySpec{Backend: b}})
	})
	It("is stored with the longest texts", func() {
		text := strings.Repeat("# "+strings.Repeat("x", 59)+"\nudp\n", 4096)[:262144]
		store("texts", &v1alpha1.FunnelPolicy{Spec: v1alpha1.FunnelPolicySpec{Rules: v1alpha1.Rules{
			Text: &v1alpha1.RulesText{Egress: text, Ingress: text},
		}}})
	})
})

// store creates the policy with all else at its longest, reads it and changes
// its status, as the controller will.
func store(name string, p *v1alpha1.FunnelPolicy) {
	GinkgoHelper()
	p.ObjectMeta = metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("%0*d-%s", 51-len(name), 0, name)}
	for i := range 16 {
		p.Spec.Interfaces = append(p.Spec.Interfaces, fmt.Sprintf("interface-%05d", i))
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(p)
	Expect(err).NotTo(HaveOccurred())
	Expect(offline(&unstructured.Unstructured{Object: content})).To(BeEmpty(), "without a server, within its cost limits")
	Expect(api.Create(ctx, p)).To(Succeed())
	DeferCleanup(func() { Expect(api.Delete(ctx, p)).To(Succeed()) })
	Expect(api.Get(ctx, client.ObjectKeyFromObject(p), p)).To(Succeed())
	p.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonTooManyRules,
		Message: strings.Repeat("x", 32768), LastTransitionTime: metav1.Now(),
	}}
	Expect(api.Status().Update(ctx, p)).To(Succeed())
}

func longestList() []v1alpha1.Rule {
	list := make([]v1alpha1.Rule, 128)
	for i := range list {
		ports := &v1alpha1.Ports{Values: repeat[v1alpha1.PortRange](32, "10000-65535"), Not: true}
		peer := &v1alpha1.Peer{CIDRs: repeat(32, "abcd:abcd:abcd:abcd:abcd:abcd:255.255.255.255/128"), Not: true}
		list[i] = v1alpha1.Rule{
			Name: fmt.Sprintf("%063d", i),
			Match: v1alpha1.Match{
				Family: v1alpha1.IPv6, Protocol: v1alpha1.TCP, Pushed: true,
				Source: peer, Destination: peer, SourcePorts: ports, DestinationPorts: ports,
			},
			Unfunnel: &v1alpha1.Unfunnel{Protocol: v1alpha1.UDP, DestinationPorts: ports},
		}
	}
	return list
}

func repeat[T any](n int, one T) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = one
	}
	return all
}
