// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"unique"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// CacheOptions is what the manager's cache must be made with. Its size depends on
// policies, injected pods, Services, their endpoints and namespaces; pods and
// ConfigMaps that are none of ours never enter it, and what enters is cut to what is read.
//
// Pods that were not injected must be read with the manager's API reader.
func CacheOptions() cache.Options {
	var common alike
	return cache.Options{
		DefaultTransform: cut(func(client.Object) {}),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}: {
				Label:     labels.SelectorFromSet(labels.Set{v1alpha1.LabelInjected: v1alpha1.InjectedTrue}),
				Transform: cut(func(pod *corev1.Pod) { cutPod(pod); shareTemplate(&common, pod) }),
			},
			&v1alpha1.FunnelPolicy{}: {Transform: cut(cutPolicy)},
			&corev1.ConfigMap{}:      {Label: hasLabel(v1alpha1.LabelPolicy), Transform: cut(cutConfigMap)},
			&corev1.Service{}:        {Transform: cut(cutService)},
			&corev1.Namespace{}:      {Transform: cut(cutNamespace)},
			&discoveryv1.EndpointSlice{}: {
				Label:     labels.SelectorFromSet(labels.Set{discoveryv1.LabelManagedBy: endpointSliceController}),
				Transform: cut(cutEndpointSlice),
			},
		},
	}
}

// endpointSliceController makes the slices of Services with a selector.
const endpointSliceController = "endpointslice-controller.k8s.io"

func hasLabel(key string) labels.Selector {
	exists, err := labels.NewRequirement(key, selection.Exists, nil)
	if err != nil {
		panic(err) // the key is a constant
	}
	return labels.NewSelector().Add(*exists)
}

// cut makes a transform that drops what no reader here needs of any object, and
// then what more drops. Transforms own their argument and may see one twice.
func cut[T client.Object](more func(T)) toolscache.TransformFunc {
	return func(in any) (any, error) {
		if obj, ok := in.(T); ok { // else a tombstone
			obj.SetManagedFields(nil)
			obj.SetAnnotations(ourAnnotation(obj.GetAnnotations()))
			more(obj)
			obj.SetNamespace(shared(obj.GetNamespace()))
		}
		return in, nil
	}
}

// ourAnnotation keeps the one that is read.
func ourAnnotation(all map[string]string) map[string]string {
	if value, ok := all[v1alpha1.AnnotationReleased]; ok {
		return map[string]string{v1alpha1.AnnotationReleased: value}
	}
	return nil
}

// cutPolicy keeps everything, in less: decoding leaves room in the conditions for as many
// again, and a copy of each word, of which most are the same, for each policy.
func cutPolicy(p *v1alpha1.FunnelPolicy) {
	for i := range p.Status.Conditions {
		c := &p.Status.Conditions[i]
		c.Type, c.Reason, c.Status, c.Message = shared(c.Type), shared(c.Reason), shared(c.Status), shared(c.Message)
	}
	p.Status.Conditions = slices.Clone(p.Status.Conditions)
	p.Kind, p.APIVersion = shared(p.Kind), shared(p.APIVersion)
}

// shared is an equal string of which there is one copy.
func shared[S ~string](s S) S { return unique.Make(s).Value() }

// cutPod keeps labels, the controlling owner, named ports, phase, deletion,
// what concerns our init container, and that a service mesh is there.
func cutPod(pod *corev1.Pod) {
	*pod = corev1.Pod{
		TypeMeta:   pod.TypeMeta,
		ObjectMeta: cutMeta(pod.ObjectMeta),
		Spec: corev1.PodSpec{
			InitContainers: oursAlone(pod.Spec.InitContainers),
			Containers:     append(namedPorts(pod.Spec.Containers), meshes(slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers))...),
			HostNetwork:    pod.Spec.HostNetwork,
			HostUsers:      pod.Spec.HostUsers,
			OS:             pod.Spec.OS,
			Volumes:        ourVolume(pod.Spec.Volumes),

			EphemeralContainers: ourRefreshes(pod.Spec.EphemeralContainers),
		},
		Status: corev1.PodStatus{
			Phase:                 shared(pod.Status.Phase),
			InitContainerStatuses: ourStatus(pod.Status.InitContainerStatuses),

			EphemeralContainerStatuses: refreshStatuses(pod.Status.EphemeralContainerStatuses),
		},
	}
}

// shareTemplate holds once what pods have from the template that they come from.
func shareTemplate(common *alike, pod *corev1.Pod) {
	pod.Labels = share(common, pod.Labels)
	pod.Spec.InitContainers = share(common, pod.Spec.InitContainers)
	pod.Spec.Containers = share(common, pod.Spec.Containers)
	pod.Spec.Volumes = share(common, pod.Spec.Volumes)
}

func cutMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	kept := metav1.ObjectMeta{
		Name:              m.Name,
		Namespace:         m.Namespace,
		UID:               m.UID,
		ResourceVersion:   m.ResourceVersion,
		Generation:        m.Generation,
		CreationTimestamp: m.CreationTimestamp,
		DeletionTimestamp: m.DeletionTimestamp,
		Labels:            m.Labels,
	}
	if owner := metav1.GetControllerOfNoCopy(&m); owner != nil {
		kept.OwnerReferences = []metav1.OwnerReference{{Kind: shared(owner.Kind), Name: owner.Name, Controller: owner.Controller}}
	}
	return kept
}

func oursAlone(containers []corev1.Container) []corev1.Container {
	for i := range containers {
		if c := &containers[i]; c.Name == v1alpha1.InitContainerName {
			return []corev1.Container{{Name: c.Name, Image: c.Image, ImagePullPolicy: c.ImagePullPolicy, Env: only(inject.EnvReportMax, c.Env)}}
		}
	}
	return nil
}

// ourVolume keeps which policies' rules the pod mounts.
func ourVolume(volumes []corev1.Volume) []corev1.Volume {
	for i := range volumes {
		v := &volumes[i]
		if v.Name != v1alpha1.VolumeName || v.Projected == nil {
			continue
		}
		kept := &corev1.ProjectedVolumeSource{}
		for _, source := range v.Projected.Sources {
			if source.ConfigMap != nil {
				kept.Sources = append(kept.Sources, corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: source.ConfigMap.LocalObjectReference}})
			}
		}
		return []corev1.Volume{{Name: v.Name, VolumeSource: corev1.VolumeSource{Projected: kept}}}
	}
	return nil
}

// ourRefreshes keeps the refresh containers with the rules that each waited for,
// and the names of others: all take a share of the room for reports.
func ourRefreshes(containers []corev1.EphemeralContainer) []corev1.EphemeralContainer {
	var kept []corev1.EphemeralContainer
	for i := range containers {
		c := corev1.EphemeralContainerCommon{Name: containers[i].Name}
		if inject.IsRefresh(c.Name) {
			c.Env = only(inject.EnvAwait, containers[i].Env)
		}
		kept = append(kept, corev1.EphemeralContainer{EphemeralContainerCommon: c})
	}
	return kept
}

// only keeps the variable of that name.
func only(name string, env []corev1.EnvVar) []corev1.EnvVar {
	for i := range env {
		if env[i].Name == name {
			return []corev1.EnvVar{{Name: name, Value: env[i].Value}}
		}
	}
	return nil
}

// refreshStatuses keeps how refresh containers ended and what they wait for.
func refreshStatuses(all []corev1.ContainerStatus) []corev1.ContainerStatus {
	var kept []corev1.ContainerStatus
	for i := range all {
		if s := &all[i]; inject.IsRefresh(s.Name) {
			kept = append(kept, corev1.ContainerStatus{Name: s.Name, State: cutState(s.State)})
		}
	}
	return kept
}

// namedPorts keeps in one container what Services may refer to by name.
func namedPorts(containers []corev1.Container) []corev1.Container {
	var ports []corev1.ContainerPort
	for i := range containers {
		for _, port := range containers[i].Ports {
			if port.Name != "" {
				ports = append(ports, corev1.ContainerPort{Name: port.Name, ContainerPort: port.ContainerPort, Protocol: port.Protocol})
			}
		}
	}
	if ports == nil {
		return nil
	}
	return []corev1.Container{{Ports: ports}}
}

// meshes keeps the names of mesh containers.
func meshes(containers []corev1.Container) []corev1.Container {
	var kept []corev1.Container
	for i := range containers {
		if slices.Contains(status.MeshContainers, containers[i].Name) {
			kept = append(kept, corev1.Container{Name: containers[i].Name})
		}
	}
	return kept
}

// ourStatus keeps how our init container ended and what it waits for.
func ourStatus(all []corev1.ContainerStatus) []corev1.ContainerStatus {
	for i := range all {
		if s := &all[i]; s.Name == v1alpha1.InitContainerName {
			return []corev1.ContainerStatus{{Name: v1alpha1.InitContainerName, State: cutState(s.State), LastTerminationState: cutState(s.LastTerminationState)}}
		}
	}
	return nil
}

func cutState(s corev1.ContainerState) corev1.ContainerState {
	var kept corev1.ContainerState
	if s.Waiting != nil {
		kept.Waiting = &corev1.ContainerStateWaiting{Reason: shared(s.Waiting.Reason)}
	}
	if t := s.Terminated; t != nil {
		kept.Terminated = &corev1.ContainerStateTerminated{ExitCode: t.ExitCode, Reason: shared(t.Reason), Message: t.Message, FinishedAt: t.FinishedAt}
	}
	return kept
}

// cutService keeps the spec and the load balancer's addresses.
func cutService(s *corev1.Service) {
	*s = corev1.Service{
		TypeMeta:   s.TypeMeta,
		ObjectMeta: cutMeta(s.ObjectMeta),
		Spec:       s.Spec,
		Status:     corev1.ServiceStatus{LoadBalancer: s.Status.LoadBalancer},
	}
	s.Labels = nil
}

// cutNamespace keeps the labels: two decide whether pods are injected, and any may
// decide whether a client policy may refer to a backend policy elsewhere.
func cutNamespace(n *metav1.PartialObjectMetadata) {
	n.ObjectMeta = cutMeta(n.ObjectMeta)
}

// cutEndpointSlice keeps whose slice it is, and which pods are ready or end.
func cutEndpointSlice(s *discoveryv1.EndpointSlice) {
	kept := &discoveryv1.EndpointSlice{TypeMeta: s.TypeMeta, ObjectMeta: cutMeta(s.ObjectMeta), AddressType: s.AddressType}
	kept.Labels, kept.OwnerReferences = map[string]string{}, nil
	for _, key := range []string{discoveryv1.LabelServiceName, discoveryv1.LabelManagedBy} {
		kept.Labels[key] = s.Labels[key]
	}
	kept.Endpoints = make([]discoveryv1.Endpoint, 0, len(s.Endpoints))
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		k := discoveryv1.Endpoint{Addresses: e.Addresses, TargetRef: cutReference(e.TargetRef)}
		switch {
		case ptr.Deref(e.Conditions.Ready, true):
		case ptr.Deref(e.Conditions.Terminating, false):
			k.Conditions = discoveryv1.EndpointConditions{Ready: ptr.To(false), Terminating: ptr.To(true)}
		default:
			continue
		}
		kept.Endpoints = append(kept.Endpoints, k)
	}
	*s = *kept
}

func cutReference(ref *corev1.ObjectReference) *corev1.ObjectReference {
	if ref == nil {
		return nil
	}
	return &corev1.ObjectReference{Kind: shared(ref.Kind), Name: ref.Name}
}
