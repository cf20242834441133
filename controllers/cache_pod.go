// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// packPod makes a transform to what the cache holds of a pod.
func packPod(common *alike) toolscache.TransformFunc {
	return packing(func(pod *corev1.Pod) (*packed, error) {
		cutPod(pod)
		found, spec := labelTextOf(pod.Labels), takeTemplate(&pod.Spec)
		pod.Labels = nil
		o, err := pack(pod, labelText(common.share(string(found))))
		if err != nil {
			return nil, err
		}
		text, err := spec.Marshal()
		o.Alike = common.share(string(text))
		return o, err
	})
}

// unpackPod makes a pod of what the cache holds.
func unpackPod(o *packed) (*corev1.Pod, error) {
	pod, spec := &corev1.Pod{}, &corev1.PodSpec{}
	if err := errors.Join(unpack(o, pod), spec.Unmarshal([]byte(o.Alike))); err != nil {
		return nil, err
	}
	pod.Labels = o.Labels.set()
	putTemplate(&pod.Spec, spec)
	return pod, nil
}

// takeTemplate takes out of a spec what the pods of one template have in common, and those of
// many.
func takeTemplate(spec *corev1.PodSpec) *corev1.PodSpec {
	template := &corev1.PodSpec{}
	putTemplate(template, spec)
	putTemplate(spec, &corev1.PodSpec{})
	return template
}

func putTemplate(into, from *corev1.PodSpec) {
	into.InitContainers, into.Containers = from.InitContainers, from.Containers
	into.HostNetwork, into.HostUsers, into.OS = from.HostNetwork, from.HostUsers, from.OS
}

// pods finds injected pods in the manager's cache.
type pods struct{ packedObjects }

// byLabel is an index of pods by namespace and label, in as few places as those of policies:
// a reconcile must not look at all pods of its namespace.
const byLabel = "sfunnel.io/label"

var podIndexers = toolscache.Indexers{byLabel: labelPlaces}

// labelPlaces are where a pod stands in the index.
func labelPlaces(obj any) ([]string, error) {
	pod, ok := obj.(metav1.Object) // who looks it up is told when it is not packed
	if !ok {
		return nil, fmt.Errorf("index pods: unexpected %T", obj)
	}
	var places []string
	for key, value := range pod.GetLabels() {
		if !slices.Contains(notIndexed, key) {
			places = append(places, placeOf(oneLabel(pod.GetNamespace(), key, value)))
		}
	}
	return places, nil
}

// notIndexed are labels that all injected pods have, or that their controllers write: hardly a
// policy selects by one alone.
var notIndexed = append([]string{v1alpha1.LabelInjected}, status.PassingLabels...)

// selected are those of a namespace that the selector matches.
func (p pods) selected(namespace string, selector labels.Selector) ([]*corev1.Pod, error) {
	all, err := p.candidates(namespace, selector, func(o *packed) bool {
		return o.Namespace == namespace && selector.Matches(o.Labels)
	})
	if err != nil {
		return nil, fmt.Errorf("list injected pods: %w", err)
	}
	var found []*corev1.Pod
	for _, o := range all {
		pod, err := unpackPod(o)
		if err != nil {
			return nil, err
		}
		found = append(found, pod)
	}
	return found, nil
}

// candidates are pods for which keep holds, among those that the index has for a label that
// the selector demands; where it demands none, among those of the namespace.
func (p pods) candidates(namespace string, selector labels.Selector, keep func(*packed) bool) ([]*packed, error) {
	demanded, _ := selector.Requirements()
	for i := range demanded {
		key, values := demanded[i].Key(), demanded[i].ValuesUnsorted()
		switch demanded[i].Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
			if len(values) == 1 && !slices.Contains(notIndexed, key) {
				return p.by(byLabel, placeOf(oneLabel(namespace, key, values[0])), keep)
			}
		}
	}
	return p.in(namespace, keep)
}

// get is the pod of that name, nil when there is none that was injected.
func (p pods) get(name types.NamespacedName) (*corev1.Pod, error) {
	return get(p.packedObjects, "Pod", name, unpackPod)
}

// cutPod keeps labels, the controlling owner, named ports, phase, deletion, that it is
// not ready, what concerns our containers, and that a service mesh is there.
func cutPod(pod *corev1.Pod) {
	meta, node := cutMeta(pod.ObjectMeta), ""
	if refreshed(pod) {
		meta.ManagedFields, node = additions(pod.ManagedFields), pod.Spec.NodeName
	}
	*pod = corev1.Pod{
		ObjectMeta: meta,
		Spec: corev1.PodSpec{
			InitContainers: oursAlone(pod.Spec.InitContainers),
			Containers:     append(namedPorts(pod), meshes(slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers))...),
			HostNetwork:    pod.Spec.HostNetwork,
			HostUsers:      pod.Spec.HostUsers,
			OS:             osOf(pod),
			Volumes:        ourVolume(pod.Spec.Volumes),
			NodeName:       node,

			EphemeralContainers: ourRefreshes(pod.Spec.EphemeralContainers),
		},
		Status: corev1.PodStatus{
			Phase:                 pod.Status.Phase,
			Conditions:            notReady(pod),
			InitContainerStatuses: ourStatus(pod.Status.InitContainerStatuses),

			EphemeralContainerStatuses: refreshStatuses(pod.Status.EphemeralContainerStatuses),
		},
	}
}

// oursAlone keeps of our init container what inject.Refresh takes over from it.
func oursAlone(containers []corev1.Container) []corev1.Container {
	for i := range containers {
		if c := &containers[i]; c.Name == v1alpha1.InitContainerName {
			return []corev1.Container{{
				Name: c.Name, Image: c.Image, ImagePullPolicy: c.ImagePullPolicy,
				Env: only(inject.EnvReportMax, c.Env), SecurityContext: labelAlone(c.SecurityContext),
			}}
		}
	}
	return nil
}

// labelAlone keeps the SELinux label, nil where there is none.
func labelAlone(c *corev1.SecurityContext) *corev1.SecurityContext {
	if c == nil || c.SELinuxOptions == nil {
		return nil
	}
	return &corev1.SecurityContext{SELinuxOptions: c.SELinuxOptions}
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

// refreshed reports whether a pod ever got a refresh container.
func refreshed(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return inject.IsRefresh(c.Name) })
}

// additions keeps when ephemeral containers were added.
func additions(all []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	var kept []metav1.ManagedFieldsEntry
	for _, entry := range all {
		if entry.Subresource == status.EphemeralContainers {
			kept = append(kept, metav1.ManagedFieldsEntry{Subresource: entry.Subresource, Time: entry.Time})
		}
	}
	return kept
}

// notReady keeps that a pod is not, while it runs and is not about to end.
func notReady(pod *corev1.Pod) []corev1.PodCondition {
	if pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil || !status.NotReady(pod) {
		return nil
	}
	return []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
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

// osOf keeps what injection looks at, however the pod says it.
func osOf(pod *corev1.Pod) *corev1.PodOS {
	if inject.IsWindows(pod) {
		return &corev1.PodOS{Name: corev1.Windows}
	}
	return nil
}

// namedPorts keeps in one container what Services may refer to by name.
func namedPorts(pod *corev1.Pod) []corev1.Container {
	var ports []corev1.ContainerPort
	for _, c := range policy.Serving(pod) {
		for _, port := range c.Ports {
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
		kept.Waiting = &corev1.ContainerStateWaiting{Reason: s.Waiting.Reason}
	}
	if t := s.Terminated; t != nil {
		kept.Terminated = &corev1.ContainerStateTerminated{ExitCode: t.ExitCode, Reason: t.Reason, Message: t.Message, FinishedAt: t.FinishedAt}
	}
	return kept
}
