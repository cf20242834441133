// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// The shapes of policies: of each five, two are backends, one is a client of the
// backend before it, one has rules that name that backend's Service, and one has
// rules as text.
const (
	textShape = iota
	backendShape
	clientShape
	listShape
	secondBackendShape
	shapes
)

// place is where the i-th policy is.
type place struct {
	i         int
	namespace string
	name      string
}

func (s size) place(i int) place {
	return place{i: i, namespace: namespaceOf(i / s.PerNamespace), name: fmt.Sprintf("p%05d", i)}
}

func (s size) namespaces() int { return (s.Policies + s.PerNamespace - 1) / s.PerNamespace }

// podsOf names the pods of the i-th policy.
func (s size) podsOf(i int) (names []string) {
	for at := i; at < s.Pods; at += s.Policies {
		names = append(names, s.podName(at))
	}
	return names
}

// podName is that of the i-th pod.
func (s size) podName(i int) string {
	return fmt.Sprintf("%s-%d", s.place(i%s.Policies).name, i/s.Policies)
}

func namespaceOf(i int) string { return fmt.Sprintf("shop-%03d", i) }

func (p place) shape() int { return p.i % shapes }

func (p place) backend() bool { return p.shape() == backendShape || p.shape() == secondBackendShape }

// previousBackend is the Service and policy that clients of the place refer to.
func (p place) previousBackend() string {
	return fmt.Sprintf("p%05d", p.i-p.i%shapes+backendShape)
}

func (p place) policy() *v1alpha1.FunnelPolicy {
	policy := &v1alpha1.FunnelPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name},
		Spec:       v1alpha1.FunnelPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": p.name}}},
	}
	switch p.shape() {
	case textShape:
		policy.Spec.Rules.Text = &v1alpha1.RulesText{Ingress: textRules(4739)}
	case clientShape:
		policy.Spec.Client = &v1alpha1.Client{PolicyRef: v1alpha1.PolicyReference{Name: p.previousBackend()}}
	case listShape:
		policy.Spec.Rules.Egress = []v1alpha1.Rule{{
			Match: v1alpha1.Match{
				Family:           v1alpha1.IPv4,
				Protocol:         v1alpha1.UDP,
				Destination:      &v1alpha1.Peer{Service: &v1alpha1.ServiceReference{Name: p.previousBackend()}},
				DestinationPorts: &v1alpha1.Ports{Values: []v1alpha1.PortRange{"4739"}},
			},
			Funnel: &v1alpha1.Funnel{Protocol: v1alpha1.TCP, DestinationPort: 179, SourcePorts: "540"},
		}}
	default:
		policy.Spec.Backend = &v1alpha1.Backend{
			Service: p.name,
			Through: v1alpha1.ThroughPort{Port: intstr.FromInt32(179)},
			Ports:   []v1alpha1.FunneledPort{{Port: 2055, Protocol: v1alpha1.UDP}, {Port: 4739, Protocol: v1alpha1.UDP}},
		}
	}
	return policy
}

// textRules is what edits change.
func textRules(port int) string {
	return fmt.Sprintf("ip tcp dport 1179 pushed actions unfunnel udp dport %d", port)
}

func (p place) service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name},
		Spec: corev1.ServiceSpec{
			Selector:        map[string]string{"app": p.name},
			SessionAffinity: corev1.ServiceAffinityClientIP,
			Ports:           []corev1.ServicePort{{Name: "bgp", Port: 179, TargetPort: intstr.FromInt32(1179)}},
		},
	}
}

// endpoints is the slice that the cluster's controller would keep, of all pods. They are
// ready once they have attached.
func (p place) endpoints(pods []string, ready bool) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name, Labels: map[string]string{
			discoveryv1.LabelServiceName: p.name, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io",
		}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for i, pod := range pods {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.1.%d.%d", p.i%250, i%250+1)},
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(ready)},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.namespace, Name: pod},
		})
	}
	return slice
}

// pod is one of ordinary size, of a Deployment.
func pod(namespace, name, app string) *corev1.Pod {
	labels := map[string]string{"app": app, "app.kubernetes.io/version": "1.2.3", "pod-template-hash": "5d4f8c7b9"}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, Labels: labels,
			Annotations: map[string]string{"example.com/config": strings.Repeat("0123456789abcdef", 64)},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: app + "-5d4f8c7b9", UID: "1", Controller: ptr.To(true),
			}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "app", Image: "registry.example/app:1.2.3", Args: []string{"serve", "--config=/etc/app/config.yaml"},
			Env:   variables(12),
			Ports: []corev1.ContainerPort{{Name: "bgp", ContainerPort: 1179}, {Name: "http", ContainerPort: 8080}},
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
			},
			ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("bgp")}}},
		}}},
	}
}

func variables(n int) []corev1.EnvVar {
	all := make([]corev1.EnvVar, n)
	for i := range all {
		all[i] = corev1.EnvVar{Name: fmt.Sprintf("APP_VARIABLE_%d", i), Value: "a value of ordinary length"}
	}
	return all
}
