// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"iter"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// Cluster is what a policy's program depends on besides the policy.
type Cluster struct {
	// Services are those that exist of References.
	Services map[types.NamespacedName]*corev1.Service
	// NamedPorts are the numbers, ascending, that pods which a backend policy selects and
	// its Service leads to give to a named container port, by PortKey. Pods that have not
	// started count too: they wait for these rules.
	NamedPorts map[string][]uint16
	// Backend is the policy that a client policy refers to, nil when there is none.
	Backend *v1alpha1.FunnelPolicy
	// Labels are those of the policy's namespace. They decide whether a client policy
	// may refer to a backend policy elsewhere.
	Labels map[string]string
	// Released says that the policy's ConfigMap holds rules that were released for
	// the policy to which it refers, so that its existence is no secret.
	Released bool
}

// PortKey names a container port by protocol and name.
func PortKey(protocol corev1.Protocol, name string) string {
	if protocol == "" {
		protocol = corev1.ProtocolTCP
	}
	return string(protocol) + "/" + name
}

// NamedPorts are the container ports by whose names Services may lead to the pod, by PortKey:
// those of its containers, and of init containers that run beside them (sidecars).
func NamedPorts(pod *corev1.Pod) iter.Seq2[string, uint16] {
	return func(yield func(string, uint16) bool) {
		for _, c := range Serving(pod) {
			for _, port := range c.Ports {
				if port.Name != "" && !yield(PortKey(port.Protocol, port.Name), uint16(port.ContainerPort)) {
					return
				}
			}
		}
	}
}

// Serving are the containers that run while the pod is ready.
func Serving(pod *corev1.Pod) []corev1.Container {
	serving := slices.Clip(pod.Spec.Containers)
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			serving = append(serving, c)
		}
	}
	return serving
}

// LeadsTo reports whether the Service may lead to the pod; one without a selector leads to
// whatever somebody chose.
func LeadsTo(s *corev1.Service, pod *corev1.Pod) bool {
	return labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pod.Labels))
}

// NumbersOf gathers NamedPorts of several pods for Cluster.NamedPorts.
func NumbersOf(pods iter.Seq[*corev1.Pod]) map[string][]uint16 {
	numbers := map[string][]uint16{}
	for pod := range pods {
		for key, number := range NamedPorts(pod) {
			if at, found := slices.BinarySearch(numbers[key], number); !found {
				numbers[key] = slices.Insert(numbers[key], at, number)
			}
		}
	}
	return numbers
}

// allows reports whether policies of a namespace with these labels may refer to
// the backend policy.
func allows(backend *v1alpha1.FunnelPolicy, namespace string, of map[string]string) bool {
	if backend.Namespace == namespace {
		return true
	}
	b := backend.Spec.Backend
	if b == nil || b.Clients == nil || b.Clients.NamespaceSelector == nil {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(b.Clients.NamespaceSelector)
	return err == nil && selector.Matches(labels.Set(of))
}
