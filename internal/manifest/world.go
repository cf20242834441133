// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/json"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
)

// World is what streams say about a cluster.
type World struct {
	Policies   []Policy
	unreadable []Finding // what is in none of these, because values are of wrong types
	services   map[types.NamespacedName]*corev1.Service
	namespaces map[string]map[string]string // labels by name
	pods       []*corev1.Pod
	makers     []*Object // of pods, in the same order
}

// Read collects what matters here of the streams. Objects without a namespace
// belong to that one.
func Read(streams []*Stream, namespace string) *World {
	w := &World{services: map[types.NamespacedName]*corev1.Service{}, namespaces: map[string]map[string]string{}}
	for _, s := range streams {
		for _, o := range s.Objects {
			w.unreadable = append(w.unreadable, w.read(o, namespace)...)
		}
	}
	return w
}

// read adds an object, or says why it can't be read.
func (w *World) read(o *Object, namespace string) []Finding {
	switch o.Kind {
	case v1alpha1.GroupVersion.WithKind("FunnelPolicy"):
		return w.readPolicy(o, namespace)
	case corev1.SchemeGroupVersion.WithKind("Service"):
		s := &corev1.Service{}
		if fault := o.into(s); fault != nil {
			return []Finding{*fault}
		}
		s.Namespace = cmp.Or(s.Namespace, namespace)
		setDefaults(s)
		w.services[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}] = s
		return nil
	case corev1.SchemeGroupVersion.WithKind("Namespace"):
		n := &corev1.Namespace{}
		if fault := o.into(n); fault != nil {
			return []Finding{*fault}
		}
		w.namespaces[n.Name] = n.Labels
		return nil
	}
	pod, fault := o.pod()
	if fault != nil {
		return []Finding{*fault}
	}
	if pod != nil {
		pod.Namespace = cmp.Or(pod.Namespace, namespace)
		w.pods, w.makers = append(w.pods, pod), append(w.makers, o)
	}
	return nil
}

// into reads the object; fields that the kind does not have are none of ours.
func (o *Object) into(v any) *Finding {
	if err := json.UnmarshalCaseSensitivePreserveInts(o.json, v); err != nil {
		return o.unreadable(nil, o.json, err)
	}
	return nil
}

// setDefaults does what the API server does to a Service, as far as it matters.
func setDefaults(s *corev1.Service) {
	s.Spec.Type = cmp.Or(s.Spec.Type, corev1.ServiceTypeClusterIP)
	s.Spec.SessionAffinity = cmp.Or(s.Spec.SessionAffinity, corev1.ServiceAffinityNone)
	if s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		s.Spec.ExternalTrafficPolicy = cmp.Or(s.Spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	for i := range s.Spec.Ports {
		s.Spec.Ports[i].Protocol = cmp.Or(s.Spec.Ports[i].Protocol, corev1.ProtocolTCP)
	}
}

// Allocate gives a Service of the streams one more cluster IP, as only a cluster
// could.
func (w *World) Allocate(service types.NamespacedName, address netip.Addr) error {
	s := w.services[service]
	if s == nil {
		return fmt.Errorf("the input has no Service %s", service)
	}
	if s.Spec.ClusterIP == "" {
		s.Spec.ClusterIP = address.String()
	} else if len(s.Spec.ClusterIPs) == 0 {
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP} // as a server fills it in
	}
	s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, address.String())
	return nil
}

// Selecting names the policies of the pod's namespace that select it.
func (w *World) Selecting(pod *corev1.Pod) []string {
	var names []string
	for _, p := range w.Policies {
		if p.Namespace == pod.Namespace && selects(p.FunnelPolicy, pod) {
			names = append(names, p.Name)
		}
	}
	return names
}

// selects reports whether the policy selects the pod; a selector that can't be
// read selects nothing, and is a fault of the policy.
func selects(p *v1alpha1.FunnelPolicy, pod *corev1.Pod) bool {
	selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	return err == nil && selector.Matches(labels.Set(pod.Labels))
}

// cluster is what of the streams the policy's program depends on.
func (w *World) cluster(p *v1alpha1.FunnelPolicy) policy.Cluster {
	namespace := map[string]string{corev1.LabelMetadataName: p.Namespace} // which every server gives it
	maps.Copy(namespace, w.namespaces[p.Namespace])
	in := policy.Cluster{Services: w.services, Labels: namespace}
	if b := p.Spec.Backend; b != nil {
		in.NamedPorts = w.namedPorts(p, w.services[types.NamespacedName{Namespace: p.Namespace, Name: b.Service}])
	}
	name := policy.BackendName(p)
	for _, other := range w.Policies {
		if other.Namespace == name.Namespace && other.Name == name.Name {
			in.Backend = other.FunnelPolicy
		}
	}
	return in
}

// namedPorts are those of the pods behind the backend's Service; none without it.
func (w *World) namedPorts(p *v1alpha1.FunnelPolicy, s *corev1.Service) map[string][]uint16 {
	return policy.NumbersOf(func(yield func(*corev1.Pod) bool) {
		for _, pod := range w.pods {
			if s != nil && pod.Namespace == p.Namespace && selects(p, pod) && policy.LeadsTo(s, pod) && !yield(pod) {
				return
			}
		}
	})
}
