// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// DeniedError says why a pod must not be created as it is, and what to do about
// it. It lists every fault, each with its field.
type DeniedError struct {
	Faults []string
}

func (e *DeniedError) Error() string { return strings.Join(e.Faults, "; ") }

const optOut = `or opt the pod out with the label ` + v1alpha1.LabelInject + `: "` + v1alpha1.InjectFalse + `"`

func notSelected() error {
	return &DeniedError{Faults: []string{fmt.Sprintf(
		`the label %s is %q and no FunnelPolicy of the namespace selects the pod yet: create the policy, or remove the label`,
		v1alpha1.LabelInject, v1alpha1.InjectRequired)}}
}

// check returns a *DeniedError when the pod can't be injected.
func check(pod *corev1.Pod) error {
	faults := slices.Concat(nameFaults(pod), platformFaults(pod))
	if len(faults) == 0 {
		return nil
	}
	return &DeniedError{Faults: faults}
}

// nameFaults names what has a name that injection needs. The init container and
// the volume of a pod with our label are ours, from an earlier injection.
func nameFaults(pod *corev1.Pod) []string {
	var faults []string
	taken := func(field, name string) {
		faults = append(faults, fmt.Sprintf("%s: the name %s is that of the injected one: rename it, %s", field, name, optOut))
	}
	for i, c := range pod.Spec.InitContainers {
		if c.Name == v1alpha1.InitContainerName && !injected(pod) {
			taken(fmt.Sprintf("spec.initContainers[%d]", i), c.Name)
		}
	}
	for i, c := range pod.Spec.Containers {
		if c.Name == v1alpha1.InitContainerName {
			taken(fmt.Sprintf("spec.containers[%d]", i), c.Name)
		}
	}
	for i, v := range pod.Spec.Volumes {
		if v.Name == v1alpha1.VolumeName && !injected(pod) {
			taken(fmt.Sprintf("spec.volumes[%d]", i), v.Name)
		}
	}
	return faults
}

// platformFaults names the properties of the pod with which rules can't be
// attached to its own network interfaces.
func platformFaults(pod *corev1.Pod) []string {
	var faults []string
	deny := func(fault string) { faults = append(faults, fault+", "+optOut) }
	if pod.Spec.HostNetwork {
		deny("spec.hostNetwork: a FunnelPolicy selects the pod, and its rules would hold for the whole node: use the pod network")
	}
	if pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers {
		deny("spec.hostUsers: a FunnelPolicy selects the pod, and the kernel refuses to load programs from a user namespace: set hostUsers to true")
	}
	if IsWindows(pod) {
		deny("spec.os.name: a FunnelPolicy selects the pod, and rules need a Linux kernel: narrow the policy's podSelector")
	}
	return faults
}

// IsStatic reports whether the pod stands for a static one, which its node starts from a
// file whatever the API server holds.
func IsStatic(pod *corev1.Pod) bool {
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror
}

// IsWindows reports whether the pod says that it is for nodes with Windows.
func IsWindows(pod *corev1.Pod) bool {
	return pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows ||
		pod.Spec.NodeSelector[corev1.LabelOSStable] == string(corev1.Windows)
}
