// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/report"
)

// shop is a namespace of one case.
type shop string

// newShop makes one whose pods are injected and may have the capabilities.
func newShop() shop {
	return shopLabelled(map[string]string{
		v1alpha1.LabelInjection:              v1alpha1.InjectionEnabled,
		"pod-security.kubernetes.io/enforce": "privileged",
	})
}

func shopLabelled(labels map[string]string) shop {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "shop-", Labels: labels}}
	Expect(api.Create(suite, namespace)).To(Succeed())
	return shop(namespace.Name)
}

// relabel sets labels of the namespace.
func (s shop) relabel(labels map[string]string) {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: string(s)}}
	change(namespace, func() {
		for key, value := range labels {
			namespace.Labels[key] = value
		}
	})
}

// change reads the object, edits it and sends the difference.
func change(obj client.Object, edit func()) {
	GinkgoHelper()
	Expect(api.Get(suite, client.ObjectKeyFromObject(obj), obj)).To(Succeed())
	before := obj.DeepCopyObject().(client.Object)
	edit()
	Expect(api.Patch(suite, obj, client.MergeFrom(before))).To(Succeed())
}

// The ingress rules of a backend: IPFIX comes pushed through BGP's port.
const backendRules = "ip tcp dport 1179 pushed actions unfunnel udp dport 4739"

// policy makes one for the pods labelled app=web, with backendRules.
func (s shop) policy(name string, edits ...func(*v1alpha1.FunnelPolicy)) *v1alpha1.FunnelPolicy {
	GinkgoHelper()
	p := &v1alpha1.FunnelPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: name},
		Spec: v1alpha1.FunnelPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Rules:       v1alpha1.Rules{Text: &v1alpha1.RulesText{Ingress: backendRules}},
		},
	}
	for _, edit := range edits {
		edit(p)
	}
	Expect(api.Create(suite, p)).To(Succeed())
	return p
}

// ingress makes the text the only rules.
func ingress(text string) func(*v1alpha1.FunnelPolicy) {
	return func(p *v1alpha1.FunnelPolicy) {
		p.Spec.Rules = v1alpha1.Rules{Text: &v1alpha1.RulesText{Ingress: text}}
	}
}

// egress makes the text the only rules.
func egress(text string) func(*v1alpha1.FunnelPolicy) {
	return func(p *v1alpha1.FunnelPolicy) {
		p.Spec.Rules = v1alpha1.Rules{Text: &v1alpha1.RulesText{Egress: text}}
	}
}

// selects makes the policy about pods with that app label.
func selects(app string) func(*v1alpha1.FunnelPolicy) {
	return func(p *v1alpha1.FunnelPolicy) { p.Spec.PodSelector.MatchLabels = map[string]string{"app": app} }
}

// through funnels UDP 4739 to the Service through its port 179.
func through(service string) func(*v1alpha1.FunnelPolicy) {
	return func(p *v1alpha1.FunnelPolicy) {
		p.Spec.Rules = v1alpha1.Rules{Egress: []v1alpha1.Rule{{
			Match: v1alpha1.Match{
				Family:           v1alpha1.IPv4,
				Protocol:         v1alpha1.UDP,
				Destination:      &v1alpha1.Peer{Service: &v1alpha1.ServiceReference{Name: service}},
				DestinationPorts: &v1alpha1.Ports{Values: []v1alpha1.PortRange{"4739"}},
			},
			Funnel: &v1alpha1.Funnel{Protocol: v1alpha1.TCP, DestinationPort: 179, SourcePorts: "540"},
		}}}
	}
}

// behind makes the policy that of a backend: TCP 8080 travels inline through the
// Service port called bgp, from clients of any namespace that says client=yes.
func behind(service string) func(*v1alpha1.FunnelPolicy) {
	return func(p *v1alpha1.FunnelPolicy) {
		p.Spec.Rules = v1alpha1.Rules{}
		p.Spec.Backend = &v1alpha1.Backend{
			Service:       service,
			Through:       v1alpha1.ThroughPort{Port: intstr.FromString("bgp")},
			Ports:         []v1alpha1.FunneledPort{{Port: 8080, Protocol: v1alpha1.TCP}},
			Encapsulation: v1alpha1.EncapsulationInline,
			Clients:       &v1alpha1.BackendClients{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"client": "yes"}}},
		}
	}
}

// clientOf makes the policy that of clients, which are labelled app=client.
func clientOf(namespace shop, name string) func(*v1alpha1.FunnelPolicy) {
	return func(p *v1alpha1.FunnelPolicy) {
		selects("client")(p)
		p.Spec.Rules = v1alpha1.Rules{}
		p.Spec.Client = &v1alpha1.Client{PolicyRef: v1alpha1.PolicyReference{Namespace: string(namespace), Name: name}}
	}
}

// endpoints makes these pods the ready endpoints of the Service, as the cluster's
// own controller would.
func (s shop) endpoints(service string, pods ...string) *discoveryv1.EndpointSlice {
	GinkgoHelper()
	return s.endpointsBy("endpointslice-controller.k8s.io", service, pods...)
}

// endpointsBy is endpoints with somebody else as the slice's manager.
func (s shop) endpointsBy(manager, service string, pods ...string) *discoveryv1.EndpointSlice {
	GinkgoHelper()
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: string(s), GenerateName: service + "-", Labels: map[string]string{
			discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: manager,
		}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   readyEndpoints(pods),
	}
	Expect(api.Create(suite, slice)).To(Succeed())
	return slice
}

func readyEndpoints(pods []string) []discoveryv1.Endpoint {
	list := make([]discoveryv1.Endpoint, len(pods))
	for i, pod := range pods {
		list[i] = discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.1.0.%d", i+1)},
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Name: pod},
		}
	}
	return list
}

// attaches lets the pod's init container end with that report.
func attaches(pod *corev1.Pod, policy, digest string) {
	GinkgoHelper()
	reports(policy, digest)(pod)
	Expect(api.Status().Update(suite, pod)).To(Succeed())
}

// service makes one in front of the pods labelled app=web: 179 leads to 1179.
func (s shop) service(name string, edits ...func(*corev1.Service)) *corev1.Service {
	GinkgoHelper()
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: string(s), Name: name},
		Spec: corev1.ServiceSpec{
			Selector:        map[string]string{"app": "web"},
			SessionAffinity: corev1.ServiceAffinityClientIP,
			Ports:           []corev1.ServicePort{{Name: "bgp", Port: 179, TargetPort: intstr.FromInt32(1179)}},
		},
	}
	for _, edit := range edits {
		edit(service)
	}
	Expect(api.Create(suite, service)).To(Succeed())
	return service
}

func ofType(t corev1.ServiceType) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Type = t }
}

func headless(s *corev1.Service) {
	s.Spec.ClusterIP, s.Spec.SessionAffinity = corev1.ClusterIPNone, corev1.ServiceAffinityNone
}

// pod makes one of Deployment web, with the status that a kubelet would write.
func (s shop) pod(name string, edits ...func(*corev1.Pod)) *corev1.Pod {
	GinkgoHelper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: string(s),
			Name:      name,
			Labels:    map[string]string{"app": "web", "pod-template-hash": "5d4f8"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-5d4f8", UID: "1", Controller: ptr.To(true),
			}},
		},
		Spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, edit := range edits {
		edit(pod)
	}
	status := pod.Status
	Expect(api.Create(suite, pod)).To(Succeed())
	pod.Status = status
	Expect(api.Status().Update(suite, pod)).To(Succeed())
	return pod
}

// injected gives the pod what the webhook would, for these policies.
func injected(policies ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Labels[v1alpha1.LabelInjected] = v1alpha1.InjectedTrue
		p.Spec.InitContainers = []corev1.Container{{Name: v1alpha1.InitContainerName, Image: "attacher"}}
		var sources []corev1.VolumeProjection
		for _, policy := range policies {
			sources = append(sources, corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: v1alpha1.ConfigMapName(policy)},
			}})
		}
		p.Spec.Volumes = []corev1.Volume{{Name: v1alpha1.VolumeName, VolumeSource: corev1.VolumeSource{
			Projected: &corev1.ProjectedVolumeSource{Sources: sources},
		}}}
	}
}

// reports is what the kubelet writes when the init container of a pod with that
// policy ended with exit code 0.
func reports(policy, digest string, interfaces ...report.Interface) func(*corev1.Pod) {
	line := report.Report{Result: report.Attached, Digests: map[string]string{policy: digest}, Interfaces: interfaces}.Marshal(0)
	return ends(policy, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: string(line)}})
}

// fails is a crash loop with that error.
func fails(policy, text string) func(*corev1.Pod) {
	line := report.Report{Result: report.Failed, Error: text}.Marshal(0)
	return func(p *corev1.Pod) {
		ends(policy, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}})(p)
		p.Status.Phase = corev1.PodPending
		p.Status.InitContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Message: string(line)}
	}
}

func ends(policy string, state corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		injected(policy)(p)
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: v1alpha1.InitContainerName, State: state}}
	}
}

// condition reads "Status/Reason" of a condition, "" while there is none at the
// policy's generation.
func condition(p *v1alpha1.FunnelPolicy, kind string) func() string {
	return func() string {
		if c := conditionOf(p, kind); c != nil {
			return fmt.Sprintf("%s/%s", c.Status, c.Reason)
		}
		return ""
	}
}

// message reads that of a condition.
func message(p *v1alpha1.FunnelPolicy, kind string) func() string {
	return func() string {
		if c := conditionOf(p, kind); c != nil {
			return c.Message
		}
		return ""
	}
}

func conditionOf(p *v1alpha1.FunnelPolicy, kind string) *metav1.Condition {
	var now v1alpha1.FunnelPolicy
	if err := api.Get(suite, client.ObjectKeyFromObject(p), &now); err != nil {
		return nil
	}
	c := meta.FindStatusCondition(now.Status.Conditions, kind)
	if c == nil || c.ObservedGeneration != now.Generation {
		return nil
	}
	return c
}

// statusOf reads the status.
func statusOf(p *v1alpha1.FunnelPolicy) v1alpha1.FunnelPolicyStatus {
	GinkgoHelper()
	var now v1alpha1.FunnelPolicy
	Expect(api.Get(suite, client.ObjectKeyFromObject(p), &now)).To(Succeed())
	return now.Status
}

// podCounts reads status.pods.
func podCounts(p *v1alpha1.FunnelPolicy) func() v1alpha1.PodCounts {
	return func() v1alpha1.PodCounts { return statusOf(p).Pods }
}

// digestOf waits for the rules to be published and returns their digest.
func digestOf(p *v1alpha1.FunnelPolicy) string {
	GinkgoHelper()
	Eventually(condition(p, v1alpha1.ConditionProgrammed)).Should(Equal("True/Programmed"))
	return statusOf(p).RulesDigest
}

// rulesOf reads the policy's ConfigMap; nil when there is none.
func rulesOf(p *v1alpha1.FunnelPolicy) *corev1.ConfigMap {
	GinkgoHelper()
	return configMapOf(p, v1alpha1.ConfigMapName(p.Name))
}

// egressOf reads the egress rules that the policy's pods get.
func egressOf(p *v1alpha1.FunnelPolicy) func() string {
	return func() string {
		if c := rulesOf(p); c != nil {
			return c.Data[v1alpha1.FileEgress]
		}
		return "no ConfigMap"
	}
}

// externalOf reads the ConfigMap for clients outside the cluster; nil when there
// is none.
func externalOf(p *v1alpha1.FunnelPolicy) *corev1.ConfigMap {
	GinkgoHelper()
	return configMapOf(p, v1alpha1.ExternalName(p.Name))
}

func configMapOf(p *v1alpha1.FunnelPolicy, name string) *corev1.ConfigMap {
	GinkgoHelper()
	key := types.NamespacedName{Namespace: p.Namespace, Name: name}
	c := &corev1.ConfigMap{}
	err := api.Get(suite, key, c)
	if client.IgnoreNotFound(err) != nil {
		Expect(err).NotTo(HaveOccurred())
	}
	if err != nil {
		return nil
	}
	return c
}
