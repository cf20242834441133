// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/report"
)

// Each row: a condition, what it says, the state of affairs, and what people
// read.
var _ = Describe("Conditions", Ordered, func() {
	produced := map[string]bool{}
	cilium := types.NamespacedName{Namespace: metav1.NamespaceDefault, Name: "cilium-config"}
	var o *operator
	BeforeAll(func() {
		webhookConfigured()
		o, _ = startOperator(withoutPolling, func(r *FunnelPolicyReconciler) {
			r.CiliumConfig, r.WebhookConfiguration, r.ListSlowly = cilium, configuration().Name, time.Second
		})
	})

	DescribeTable("say why", func(kind, want string, arrange func(s shop) *v1alpha1.FunnelPolicy, says ...string) {
		s := newShop()
		p := arrange(s)
		Eventually(condition(p, kind)).Should(Equal(want))
		for _, text := range says {
			Eventually(message(p, kind)).Should(ContainSubstring(strings.ReplaceAll(text, "NS", string(s))))
		}
		_, reason, _ := strings.Cut(want, "/")
		produced[reason] = true
	},
		func(kind, want string, _ func(shop) *v1alpha1.FunnelPolicy, _ ...string) string {
			return kind + "=" + want
		},

		Entry(nil, "Accepted", "True/Accepted", plain),
		Entry(nil, "Accepted", "False/Invalid", with(ingress("tcp dport 0 drop")), "spec.rules.text.ingress", "1-65535"),
		Entry(nil, "Accepted", "False/TooManyRules", with(ingress(dropRules(4097))), "4096"),
		Entry(nil, "Accepted", "False/Conflicted", func(s shop) *v1alpha1.FunnelPolicy {
			digestOf(s.policy("a", ingress("tcp dport 22 drop")))
			return s.policy("b", ingress("tcp dport 22 accept"))
		}, "policy a is older"),
		Entry(nil, "Accepted", "False/UnsupportedServiceType", func(s shop) *v1alpha1.FunnelPolicy {
			s.service("collector", headless)
			return s.policy("exporter", through("collector"))
		}, "spec.rules.egress[0].match.destination.service", "headless"),

		Entry(nil, "Accepted", "False/PortMappingUnsupported", func(s shop) *v1alpha1.FunnelPolicy {
			s.service("collector", func(s *corev1.Service) {
				s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "alt", Port: 8080, TargetPort: intstr.FromInt32(8081)})
			})
			return s.policy("policy", behind("collector"))
		}, "spec.backend.ports[0]", "list 8081 here"),

		Entry(nil, "ResolvedRefs", "True/ResolvedRefs", plain),
		Entry("ResolvedRefs of a backend without a Service", "ResolvedRefs", "False/ServiceNotFound", with(behind("collector")), "spec.backend.service: Service NS/collector does not exist"),
		Entry(nil, "ResolvedRefs", "False/PortNotFound", func(s shop) *v1alpha1.FunnelPolicy {
			s.service("collector", func(s *corev1.Service) { s.Spec.Ports[0].Name = "other" })
			return s.policy("policy", behind("collector"))
		}, "Service NS/collector has no port bgp/TCP; it lists 179/TCP (other)"),
		Entry(nil, "ResolvedRefs", "False/PolicyNotFound", with(func(p *v1alpha1.FunnelPolicy) { clientOf("", "collector")(p) }), "FunnelPolicy NS/collector does not exist"),
		Entry(nil, "ResolvedRefs", "False/NotABackend", func(s shop) *v1alpha1.FunnelPolicy {
			plain(s)
			return s.policy("client", clientOf(s, "policy"))
		}, "FunnelPolicy NS/policy has no spec.backend"),
		Entry(nil, "ResolvedRefs", "False/ClientNotAllowed", with(clientOf("kube-public", "collector")), "does not let policies of namespace NS refer to it, or does not exist"),
		Entry(nil, "ResolvedRefs", "False/BackendNotAttached", func(s shop) *v1alpha1.FunnelPolicy {
			s.service("collector")
			s.policy("policy", behind("collector"))
			s.pod("web-1")
			s.endpoints("collector", "web-1")
			return s.policy("client", clientOf(s, "policy"))
		}, "1 of 1 ready endpoint of Service NS/collector don't run its current rules: web-1 (not injected)"),
		Entry(nil, "ResolvedRefs", "False/ServiceNotFound", with(through("collector")), "Service NS/collector does not exist"),
		Entry(nil, "ResolvedRefs", "False/AddressPending", func(s shop) *v1alpha1.FunnelPolicy {
			s.service("collector")
			return s.policy("exporter", through("collector"), func(p *v1alpha1.FunnelPolicy) {
				p.Spec.Rules.Egress[0].Match.Family = v1alpha1.IPv6
			})
		}, "Service NS/collector has no IPv6 address yet"),

		Entry(nil, "Programmed", "True/Programmed", plain, "policy-funnel"),
		Entry(nil, "Programmed", "False/NeverProgrammed", with(through("collector")), "collector does not exist"),
		Entry(nil, "Programmed", "False/StaleRules", func(s shop) *v1alpha1.FunnelPolicy {
			p := plain(s)
			digestOf(p)
			change(p, func() { p.Spec.Rules.Text.Ingress = "nonsense" })
			return p
		}, "keeps the last good rules"),
		Entry(nil, "Programmed", "False/ConfigMapNotOwned", func(s shop) *v1alpha1.FunnelPolicy {
			Expect(api.Create(suite, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: "policy-funnel"}})).To(Succeed())
			return plain(s)
		}, "kubectl -n NS label configmap policy-funnel"),
		Entry(nil, "Programmed", "False/ApplyFailed", func(s shop) *v1alpha1.FunnelPolicy {
			s.allowNoConfigMaps()
			return plain(s)
		}, "exceeded quota"),
		Entry(nil, "Reconciling", "True/Waiting", with(through("collector")), "collector does not exist"),
		Entry(nil, "Stalled", "True/Invalid", with(ingress("nonsense"))),
		Entry(nil, "Ready", "True/Ready", plain),
		Entry(nil, "Ready", "False/ServiceNotFound", with(through("collector"))),

		Entry(nil, "SessionAffinity", "True/ClientIP", func(s shop) *v1alpha1.FunnelPolicy {
			s.service("collector")
			return plain(s)
		}, "timeoutSeconds to 86400 in NS/collector"),
		Entry(nil, "SessionAffinity", "False/AffinityNone", func(s shop) *v1alpha1.FunnelPolicy {
			s.service("collector", func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityNone })
			return plain(s)
		}, "spec.sessionAffinity is not ClientIP in Service NS/collector", "kubectl -n NS patch service collector"),
		Entry(nil, "SessionAffinity", "Unknown/NoServices", plain),
		Entry("SessionAffinity of the Service that a client funnels to", "SessionAffinity", "False/AffinityNone", func(s shop) *v1alpha1.FunnelPolicy {
			s.service("collector", func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityNone })
			return s.policy("exporter", selects("exporter"), through("collector"))
		}, "NS/collector"),
		Entry("SessionAffinity of a Service with a named target port", "SessionAffinity", "True/ClientIP", func(s shop) *v1alpha1.FunnelPolicy {
			s.service("collector", func(s *corev1.Service) { s.Spec.Ports[0].TargetPort.Type, s.Spec.Ports[0].TargetPort.StrVal = 1, "bgp" })
			s.pod("web-1", injected("policy"), func(p *corev1.Pod) {
				p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "bgp", ContainerPort: 1179}}
			})
			return plain(s)
		}, "NS/collector"),

		Entry(nil, "SourceIPPreserved", "True/SourceIPPreserved", func(s shop) *v1alpha1.FunnelPolicy {
			s.service("collector")
			return plain(s)
		}),
		Entry(nil, "SourceIPPreserved", "False/TrafficPolicyCluster", func(s shop) *v1alpha1.FunnelPolicy {
			s.service("collector", ofType(corev1.ServiceTypeNodePort))
			return plain(s)
		}, "NS/collector (NodePort)", "externalTrafficPolicy\":\"Local\""),

		Entry(nil, "Attached", "True/Attached", func(s shop) *v1alpha1.FunnelPolicy {
			p := plain(s)
			s.pod("web-1", reports("policy", digestOf(p)))
			s.pod("web-2", reports("policy", digestOf(p)))
			return p
		}, "2 pods with the current rules"),
		Entry(nil, "Attached", "Unknown/NoMatchingPods", plain),
		Entry(nil, "Attached", "False/PodsNotInjected", func(s shop) *v1alpha1.FunnelPolicy {
			s.pod("web-1")
			return plain(s)
		}, "web-1", "kubectl -n NS rollout restart deployment/web"),
		Entry(nil, "Attached", "False/PodsPending", func(s shop) *v1alpha1.FunnelPolicy {
			s.pod("web-1", ends("policy", corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}))
			return plain(s)
		}, "web-1 (ImagePullBackOff)"),
		Entry(nil, "Attached", "False/PodsOutdated", func(s shop) *v1alpha1.FunnelPolicy {
			s.pod("web-1", reports("policy", "sha256:other"))
			return plain(s)
		}, "web-1", "kubectl -n NS rollout restart deployment/web"),
		Entry(nil, "Attached", "False/AttachFailed", func(s shop) *v1alpha1.FunnelPolicy {
			s.pod("web-1", fails("policy", "attach eth0 ingress: load program: permission denied"))
			return plain(s)
		}, "web-1 (attach eth0 ingress: load program: permission denied)"),
		Entry(nil, "Attached", "False/PodsRefreshing", func(s shop) *v1alpha1.FunnelPolicy {
			s.pod("web-1", reports("policy", "sha256:other"))
			return s.policy("policy", updatedInPlace)
		}, "Being refreshed: 1 pod: web-1; waiting for it: 0."),
		Entry(nil, "Attached", "False/RefreshFailed", func(s shop) *v1alpha1.FunnelPolicy {
			s.pod("web-1", reports("policy", "sha256:other"))
			p := s.policy("policy", updatedInPlace)
			s.endRefresh("web-1", 1, failed("the rules did not come"))
			return p
		}, "web-1 (the rules did not come)", "kubectl funnel refresh -n NS policy"),
		Entry(nil, "Attached", "False/RefreshForbidden", func(s shop) *v1alpha1.FunnelPolicy {
			s.pod("web-1", reports("policy", "sha256:other"))
			s.refuseRefreshes()
			return s.policy("policy", updatedInPlace)
		}, "config/overlays/in-place", "kubectl funnel refresh -n NS policy"),
		Entry(nil, "Attached", "False/HostNetworkPods", func(s shop) *v1alpha1.FunnelPolicy {
			s.pod("web-1", func(p *corev1.Pod) { p.Spec.HostNetwork = true })
			return plain(s)
		}, "web-1 (hostNetwork: true)"),
		Entry(nil, "Attached", "False/NamespaceNotEnabled", func(s shop) *v1alpha1.FunnelPolicy {
			s.relabel(map[string]string{v1alpha1.LabelInjection: "disabled"})
			s.pod("web-1")
			return plain(s)
		}, "kubectl label namespace NS sfunnel.io/injection=enabled --overwrite"),
		Entry(nil, "Attached", "False/PodSecurityForbids", func(s shop) *v1alpha1.FunnelPolicy {
			s.relabel(map[string]string{"pod-security.kubernetes.io/enforce": "baseline"})
			return plain(s)
		}, "kubectl label namespace NS pod-security.kubernetes.io/enforce=privileged --overwrite"),

		Entry(nil, "Coverage", "True/EndpointsCovered", func(s shop) *v1alpha1.FunnelPolicy {
			s.service("collector")
			p := s.policy("policy", behind("collector"))
			s.pod("web-1", reports("policy", digestOf(p)))
			s.endpoints("collector", "web-1")
			return p
		}),
		Entry(nil, "Coverage", "False/EndpointsNotCovered", func(s shop) *v1alpha1.FunnelPolicy {
			s.service("collector")
			s.pod("web-1")
			s.endpoints("collector", "web-1")
			return s.policy("policy", behind("collector"))
		}, "web-1 (not injected)"),
		Entry(nil, "Coverage", "Unknown/NoEndpoints", func(s shop) *v1alpha1.FunnelPolicy {
			s.service("collector")
			return s.policy("policy", behind("collector"))
		}, "NS/collector"),

		Entry(nil, "MTUWarning", "True/InsufficientHeadroom", func(s shop) *v1alpha1.FunnelPolicy {
			p := s.policy("policy", egress("udp dport 4739 funnel tcp dport 179 sport 540"))
			s.pod("web-1", reports("policy", digestOf(p), report.Interface{Name: "eth0", MTU: 1500, Overhead: 20}))
			return p
		}, "pod web-1 eth0: MTU 1500, 20 bytes needed", "1520", "set spec.mtu to Reserve", "1480"),
		Entry(nil, "MTUWarning", "False/HeadroomSufficient", func(s shop) *v1alpha1.FunnelPolicy {
			p := s.policy("policy", egress("udp dport 4739 funnel tcp dport 179 sport 540"))
			s.pod("web-1", reports("policy", digestOf(p), report.Interface{Name: "eth0", MTU: 1500, Overhead: 20, Headroom: 20}))
			return p
		}),
		Entry(nil, "MTUWarning", "Unknown/NoReports", with(egress("udp dport 4739 funnel tcp dport 179 sport 540")), "20 bytes"),

		Entry(nil, "Warnings", "False/NoWarnings", plain),
		Entry(nil, "Warnings", "True/ShadowedRules", with(ingress("tcp drop; tcp dport 22 accept")), "spec.rules.text.ingress", "never reached"),
		Entry(nil, "Warnings", "True/UnfunnelWithoutPorts", with(ingress("ip tcp dport 1179 pushed unfunnel udp"))),
		Entry(nil, "Warnings", "True/RuleWarnings", with(egress("ip daddr 10.0.0.1 tcp funnel tcp dport 179 sport 540"))),
		Entry(nil, "Warnings", "True/ServiceMesh", func(s shop) *v1alpha1.FunnelPolicy {
			s.pod("web-1", injected("policy"), func(p *corev1.Pod) {
				p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "istio-proxy", Image: "mesh"})
			})
			return plain(s)
		}, "web-1 (istio-proxy)"),
		Entry("Warnings about somebody else's ConfigMap", "Warnings", "True/ConfigMapNotOwned", func(s shop) *v1alpha1.FunnelPolicy {
			s.service("collector")
			Expect(api.Create(suite, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: "policy-external"}})).To(Succeed())
			return s.policy("policy", behind("collector"))
		}, "policy-external"),
		Entry(nil, "Warnings", "True/AddressesUnusable", func(s shop) *v1alpha1.FunnelPolicy {
			service := s.service("collector", ofType(corev1.ServiceTypeLoadBalancer))
			service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{Hostname: "collector.example"}}
			Expect(api.Status().Update(suite, service)).To(Succeed())
			return s.policy("exporter", through("collector"))
		}, "collector.example"),
	)

	It("tell that Cilium balances at the socket, while it does", func() {
		s := newShop()
		s.service("collector")
		p := s.policy("exporter", selects("exporter"), through("collector"))
		s.pod("exporter-1", reports("exporter", digestOf(p)), func(p *corev1.Pod) { p.Labels["app"] = "exporter" })
		Eventually(condition(p, "Attached")).Should(Equal("True/Attached"))
		Expect(condition(p, "Warnings")()).To(Equal("False/NoWarnings"))
		config := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: cilium.Namespace, Name: cilium.Name},
			Data:       map[string]string{"kube-proxy-replacement": "true"},
		}
		Expect(api.Create(suite, config)).To(Succeed())
		Eventually(condition(p, "Warnings")).Should(Equal("True/SocketLoadBalancing"))
		Expect(message(p, "Warnings")()).To(ContainSubstring("socketLB.hostNamespaceOnly=true"))
		produced["SocketLoadBalancing"] = true

		By("being told otherwise")
		change(config, func() { config.Data["bpf-lb-sock-hostns-only"] = "true" })
		Eventually(condition(p, "Warnings")).Should(Equal("False/NoWarnings"))

		By("nothing being written while it stays")
		looks := len(o.requests.reading("/configmaps/" + cilium.Name))
		o.untilQuiet()
		Eventually(func() int { return len(o.requests.reading("/configmaps/" + cilium.Name)) }).Should(BeNumerically(">", looks))
	})

	It("tell that a refresh takes too long", func() {
		s := newShop()
		s.pod("web-1", reports("policy", "sha256:other"))
		p := s.policy("policy", updatedInPlace)
		Eventually(condition(p, "Attached")).Should(Equal("False/PodsRefreshing"))
		o.clock.advance(time.Hour)
		Eventually(func() string {
			lookOnce(o, p)
			return condition(p, "Attached")()
		}).Should(Equal("False/RefreshStalled"))
		Expect(message(p, "Attached")()).To(ContainSubstring("Run: kubectl -n " + string(s) + " describe pod web-1."))
		produced["RefreshStalled"] = true
	})

	It("tell that nobody injects", func() {
		Expect(api.Delete(suite, configuration())).To(Succeed())
		o.untilNobodyInjects()
		s := newShop()
		s.pod("web-1")
		p := plain(s)
		Eventually(condition(p, "Attached")).Should(Equal("False/NobodyInjects"))
		produced["NobodyInjects"] = true
	})

	It("leave out no reason of the API", func() {
		reasons, err := apiConstants("Reason")
		Expect(err).NotTo(HaveOccurred())
		Expect(reasons).NotTo(BeEmpty())
		for _, reason := range reasons {
			Expect(produced).To(HaveKey(reason), "no case produces it")
		}
	})
})

// plain makes a policy called policy, that has nothing to complain about.
func plain(s shop) *v1alpha1.FunnelPolicy { return s.policy("policy") }

// with makes it with edits.
func with(edits ...func(*v1alpha1.FunnelPolicy)) func(shop) *v1alpha1.FunnelPolicy {
	return func(s shop) *v1alpha1.FunnelPolicy { return s.policy("policy", edits...) }
}

func dropRules(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "tcp dport %d drop\n", i+1)
	}
	return text.String()
}

// allowNoConfigMaps makes each attempt to create one fail.
func (s shop) allowNoConfigMaps() *corev1.ResourceQuota {
	GinkgoHelper()
	return s.allowConfigMaps("0")
}

// allowConfigMaps lets so many be created.
func (s shop) allowConfigMaps(n string) *corev1.ResourceQuota {
	GinkgoHelper()
	count := func(n string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceConfigMaps: resource.MustParse(n)}
	}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: "few"}, Spec: corev1.ResourceQuotaSpec{Hard: count(n)}}
	Expect(api.Create(suite, quota)).To(Succeed())
	quota.Status = corev1.ResourceQuotaStatus{Hard: count(n), Used: count("0")}
	Expect(api.Status().Update(suite, quota)).To(Succeed())
	return quota
}
