// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// CacheOptions is what the manager's cache must be made with. Its size depends on
// policies, injected pods, Services and namespaces; pods and ConfigMaps that are
// none of ours never enter it, and what enters is cut to what is read.
//
// Pods that were not injected must be read with the manager's API reader.
func CacheOptions() cache.Options {
	return cache.Options{
		DefaultTransform: cut(func(client.Object) {}),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}: {
				Label:     labels.SelectorFromSet(labels.Set{v1alpha1.LabelInjected: v1alpha1.InjectedTrue}),
				Transform: cut(cutPod),
			},
			&corev1.ConfigMap{}: {Label: hasLabel(v1alpha1.LabelPolicy)},
			&corev1.Service{}:   {Transform: cut(cutService)},
			&corev1.Namespace{}: {Transform: cut(cutNamespace)},
		},
	}
}

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
			obj.SetAnnotations(nil)
			more(obj)
		}
		return in, nil
	}
}

// cutPod keeps labels, the controlling owner, named ports, phase, deletion and
// what concerns our init container.
func cutPod(pod *corev1.Pod) {
	*pod = corev1.Pod{
		TypeMeta:   pod.TypeMeta,
		ObjectMeta: cutMeta(pod.ObjectMeta),
		Spec: corev1.PodSpec{
			InitContainers: oursAlone(pod.Spec.InitContainers),
			Containers:     namedPorts(pod.Spec.Containers),
			HostNetwork:    pod.Spec.HostNetwork,
			HostUsers:      pod.Spec.HostUsers,
			OS:             pod.Spec.OS,
		},
		Status: corev1.PodStatus{
			Phase:                 pod.Status.Phase,
			InitContainerStatuses: ourStatus(pod.Status.InitContainerStatuses),
		},
	}
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
		kept.OwnerReferences = []metav1.OwnerReference{{Kind: owner.Kind, Name: owner.Name, Controller: owner.Controller}}
	}
	return kept
}

func oursAlone(containers []corev1.Container) []corev1.Container {
	for i := range containers {
		if containers[i].Name == v1alpha1.InitContainerName {
			return []corev1.Container{{Name: v1alpha1.InitContainerName}}
		}
	}
	return nil
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

// ourStatus keeps how our init container ended and what it waits for.
func ourStatus(all []corev1.ContainerStatus) []corev1.ContainerStatus {
	for i := range all {
		if s := &all[i]; s.Name == v1alpha1.InitContainerName {
			return []corev1.ContainerStatus{{Name: s.Name, State: cutState(s.State), LastTerminationState: cutState(s.LastTerminationState)}}
		}
	}
	return nil
}

func cutState(s corev1.ContainerState) corev1.ContainerState {
	var kept corev1.ContainerState
	if s.Waiting != nil {
		kept.Waiting = &corev1.ContainerStateWaiting{Reason: s.Waiting.Reason}
	}
	if s.Terminated != nil {
		kept.Terminated = &corev1.ContainerStateTerminated{ExitCode: s.Terminated.ExitCode, Reason: s.Terminated.Reason, Message: s.Terminated.Message}
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

// cutNamespace keeps the two labels that decide whether pods are injected.
func cutNamespace(n *metav1.PartialObjectMetadata) {
	kept := map[string]string{}
	for _, key := range []string{v1alpha1.LabelInjection, status.LabelEnforce} {
		if value, ok := n.Labels[key]; ok {
			kept[key] = value
		}
	}
	n.ObjectMeta = cutMeta(n.ObjectMeta)
	n.Labels = kept
}
