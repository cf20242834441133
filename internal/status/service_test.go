// SPDX-License-Identifier: Apache-2.0

package status

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// service leads 179/TCP to 1179 of pods labelled app=web.
func service(name string, edits ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: name},
		Spec: corev1.ServiceSpec{
			Type:            corev1.ServiceTypeClusterIP,
			Selector:        map[string]string{"app": "web"},
			SessionAffinity: corev1.ServiceAffinityClientIP,
		},
	}
	port(179, intstr.FromInt32(1179), corev1.ProtocolTCP)(s)
	for _, edit := range edits {
		edit(s)
	}
	return s
}

func port(number int32, target intstr.IntOrString, protocol corev1.Protocol) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{{Port: number, TargetPort: target, Protocol: protocol}}
	}
}

func inNamespace(name string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Namespace = name }
}

func selecting(labels map[string]string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Selector = labels }
}

func withoutClusterIP(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }

func withoutAffinity(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityNone }

func timeout(seconds int32) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	}
}

func external(kind corev1.ServiceType, policy corev1.ServiceExternalTrafficPolicy) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Type, s.Spec.ExternalTrafficPolicy = kind, policy }
}

func TestCarries(t *testing.T) {
	const backend = "tcp dport 1179 pushed unfunnel udp dport 4739"
	named := port(179, intstr.FromString("bgp"), corev1.ProtocolTCP)
	for _, test := range []struct {
		name    string
		service *corev1.Service
		rules   string
		pods    []*corev1.Pod
		want    bool
	}{
		{"its target port is unfunneled", service("s"), backend, nil, true},
		{"the Service port is not what counts", service("s"), "tcp dport 179 pushed unfunnel udp", nil, false},
		{"without target port the Service port counts", service("s", port(1179, intstr.IntOrString{}, "")), backend, nil, true},
		{"another protocol", service("s", port(179, intstr.FromInt32(1179), corev1.ProtocolUDP)), backend, nil, false},
		{"a rule for every port", service("s"), "tcp pushed unfunnel udp", nil, true},
		{"rules that do not unfunnel", service("s"), "tcp dport 1179 accept", nil, false},
		{"another namespace", service("s", inNamespace("other")), backend, nil, false},
		{"headless: its clients dial pods", service("s", withoutClusterIP, withoutAffinity), backend, nil, false},
		{"no selector", service("s", selecting(nil)), backend, nil, false},
		{"other pods", service("s", selecting(map[string]string{"app": "db"})), backend, []*corev1.Pod{pod("a")}, false},
		{"a label that the pods have and the policy does not ask for",
			service("s", selecting(map[string]string{"tier": "front"})), backend, []*corev1.Pod{pod("a", label("tier", "front"))}, true},
		{"named target port, no pod yet", service("s", named), backend, nil, false},
		{"named target port", service("s", named), backend, []*corev1.Pod{pod("a", containerPort("bgp", 1179, "TCP"))}, true},
		{"named target port of some pods", service("s", named), backend, []*corev1.Pod{pod("a", containerPort("bgp", 179, "")), pod("b", containerPort("bgp", 1179, ""))}, true},
		{"named target port, other number", service("s", named), backend, []*corev1.Pod{pod("a", containerPort("bgp", 179, "TCP"))}, false},
		{"named target port of another protocol", service("s", named), backend, []*corev1.Pod{pod("a", containerPort("bgp", 1179, "UDP"))}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			shapes := censusOf(0, test.pods...).allShapes()
			if got := carries(test.service, webPolicy(), mustRules(t, test.rules), shapes); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestAffinity(t *testing.T) {
	for _, test := range []struct {
		name  string
		front []*corev1.Service
		want  verdict
	}{
		{"no Service", nil,
			unknown("NoServices", "No Service that carries funneled packets is known.")},
		{"kept, short", []*corev1.Service{service("a")},
			yes("ClientIP", "ClientIP affinity is kept: Service shop/a for 10800 s. Only new connections refresh it: set spec.sessionAffinityConfig.clientIP.timeoutSeconds to 86400 in shop/a.")},
		{"kept, long", []*corev1.Service{service("a", timeout(86400))},
			yes("ClientIP", "ClientIP affinity is kept: Service shop/a for 86400 s.")},
		{"lost in one of two", []*corev1.Service{service("a"), service("b", withoutAffinity)},
			no("AffinityNone", `spec.sessionAffinity is not ClientIP in Service shop/b, so that flows of one client reach different pods. Run: kubectl -n shop patch service b -p '{"spec":{"sessionAffinity":"ClientIP"}}'.`)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, affinity(test.front), cmp.AllowUnexported(verdict{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSourceIP(t *testing.T) {
	const (
		cluster = corev1.ServiceExternalTrafficPolicyCluster
		local   = corev1.ServiceExternalTrafficPolicyLocal
		intact  = "No Service in front masquerades its clients. Off-cluster clients of a cluster IP, and a pod that reaches itself through its own Service, are masqueraded all the same."
		fix     = `To keep their addresses run: kubectl -n shop patch service a -p '{"spec":{"externalTrafficPolicy":"Local"}}'.`
	)
	balancer := external(corev1.ServiceTypeLoadBalancer, cluster)
	for _, test := range []struct {
		name  string
		front []*corev1.Service
		rules string
		want  verdict
	}{
		{"no Service", nil, "", unknown("NoServices", "No Service that carries funneled packets is known.")},
		{"cluster IP", []*corev1.Service{service("a")}, "", yes("SourceIPPreserved", intact)},
		{"balancer, Local", []*corev1.Service{service("a", external(corev1.ServiceTypeLoadBalancer, local))}, "", yes("SourceIPPreserved", intact)},
		{"node port, Local", []*corev1.Service{service("a", external(corev1.ServiceTypeNodePort, local))}, "", yes("SourceIPPreserved", intact)},
		{"external IPs", []*corev1.Service{service("a", func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.1"} })}, "tcp pushed unfunnel udp",
			no("TrafficPolicyCluster", "spec.externalTrafficPolicy is Cluster in Service shop/a (ClusterIP), so that clients from outside the cluster are masqueraded: the pods see addresses of nodes; the rules do not depend on them. "+fix)},
		{"told apart by the magic", []*corev1.Service{service("a", balancer)}, "tcp dport 1179 pushed unfunnel udp",
			no("TrafficPolicyCluster", "spec.externalTrafficPolicy is Cluster in Service shop/a (LoadBalancer), so that clients from outside the cluster are masqueraded: the pods see addresses of nodes; the rules do not depend on them. "+fix)},
		{"told apart by source port", []*corev1.Service{service("a", balancer)}, "tcp dport 1179 sport 540 unfunnel udp",
			no("TrafficPolicyCluster", "spec.externalTrafficPolicy is Cluster in Service shop/a (LoadBalancer), so that clients from outside the cluster are masqueraded: unfunnel rules that match source ports miss packets, because source ports are drawn anew (match pushed instead, or let one protocol be pushed). "+fix)},
		{"matched by source address", []*corev1.Service{service("a", external(corev1.ServiceTypeNodePort, cluster))}, "ip saddr 192.0.2.0/24 tcp dport 1179 pushed unfunnel udp",
			no("TrafficPolicyCluster", "spec.externalTrafficPolicy is Cluster in Service shop/a (NodePort), so that clients from outside the cluster are masqueraded: rules that match source addresses see those of nodes. "+fix)},
		{"both", []*corev1.Service{service("a", balancer)}, "ip saddr 192.0.2.0/24 tcp dport 1179 sport 540 unfunnel udp",
			no("TrafficPolicyCluster", "spec.externalTrafficPolicy is Cluster in Service shop/a (LoadBalancer), so that clients from outside the cluster are masqueraded: rules that match source addresses see those of nodes, and unfunnel rules that match source ports miss packets, because source ports are drawn anew (match pushed instead, or let one protocol be pushed). "+fix)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, sourceIP(test.front, consequence(mustRules(t, test.rules))), cmp.AllowUnexported(verdict{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConsequenceForABackend(t *testing.T) {
	for _, test := range []struct {
		name, rules string
		bySource    bool
		want        string
	}{
		{"marks suffice", "tcp dport 1179 pushed unfunnel udp dport 443 reply", false, "inline and pushed packets are recognised all the same"},
		{"TCP beside UDP", "tcp sport 540-547 dport 80 pushed unfunnel tcp dport 8080 reply; tcp dport 80 pushed unfunnel udp dport 443 reply; tcp dport 80 unfunnel tcp inline dport 8080", false,
			"pushed tcp is told by source ports, which are drawn anew, and not recognised; all else is"},
		{"through UDP, from some", "ip saddr 10.0.0.0/8 udp sport 540-547 dport 80 unfunnel tcp dport 8080 reply; ip saddr 10.0.0.0/8 udp sport 548-555 dport 80 unfunnel udp dport 443 reply", true,
			"pushed tcp and udp is told by source ports, which are drawn anew, and not recognised; all else is; sourceCIDRs sees addresses of nodes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := backendConsequence(mustRules(t, test.rules), test.bySource); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
