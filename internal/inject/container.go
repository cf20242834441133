// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// reportPath is where the init container writes its report and the kubelet
// reads it.
const reportPath = "/dev/termination-log"

// EnvReportMax is the variable of the init container with the size limit of its
// report, in bytes.
const EnvReportMax = "SFUNNEL_REPORT_MAX"

// The other variables of the init container.
const (
	envPod    = "SFUNNEL_POD"    // "1": refuse the host's network namespace
	envReport = "SFUNNEL_REPORT" // path of the report
	// envDropFlows "1" gives up flows that the programs of an earlier run remember,
	// as taking them over needs SYS_ADMIN. An init container always does: it runs
	// again in a sandbox when all containers of the pod are restarted, or when it
	// failed late, and then nothing of the pod is there whose flows could break.
	envDropFlows = "SFUNNEL_DROP_FLOWS"
)

// setContainer puts our init container in front of all others, native sidecars
// included, so that no process of the pod runs before the rules are attached.
func setContainer(pod *corev1.Pod, opts Options) {
	var earlier corev1.Container
	others := slices.DeleteFunc(slices.Clone(pod.Spec.InitContainers), func(c corev1.Container) bool {
		if c.Name != v1alpha1.InitContainerName {
			return false
		}
		earlier = c
		return true
	})
	pod.Spec.InitContainers = append([]corev1.Container{{}}, others...)
	pod.Spec.InitContainers[0] = attacher(pod, earlier, opts)
}

// attacher is the init container of the pod. Environment and mounts of the
// earlier one that are not ours stay.
func attacher(pod *corev1.Pod, earlier corev1.Container, opts Options) corev1.Container {
	return corev1.Container{
		Name:                     v1alpha1.InitContainerName,
		Image:                    opts.Image,
		ImagePullPolicy:          pullPolicy(opts),
		Env:                      environment(pod, earlier.Env),
		Resources:                resources(pod, opts),
		VolumeMounts:             mounts(earlier.VolumeMounts),
		SecurityContext:          privileges(selinux(opts), attaching...),
		TerminationMessagePath:   reportPath,
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
	}
}

func pullPolicy(opts Options) corev1.PullPolicy {
	if opts.PullPolicy == "" {
		return corev1.PullIfNotPresent
	}
	return opts.PullPolicy
}

// attaching are the capabilities that loading and attaching need and no more: BPF
// for maps and programs, NET_ADMIN to attach them, PERFMON for packet offsets that vary.
var attaching = []corev1.Capability{"BPF", "NET_ADMIN", "PERFMON"}

// selinux is nil for what the runtime decides.
func selinux(opts Options) *corev1.SELinuxOptions {
	if opts.SELinuxType == "" {
		return nil
	}
	return &corev1.SELinuxOptions{Type: opts.SELinuxType}
}

// privileges are these capabilities and nothing else. The uid is 0, as another gets
// no effective capabilities.
func privileges(label *corev1.SELinuxOptions, capabilities ...corev1.Capability) *corev1.SecurityContext {
	root, no, yes := int64(0), false, true
	return &corev1.SecurityContext{
		RunAsUser:                &root,
		RunAsNonRoot:             &no,
		AllowPrivilegeEscalation: &no,
		ReadOnlyRootFilesystem:   &yes,
		Capabilities: &corev1.Capabilities{
			Drop: []corev1.Capability{"ALL"},
			Add:  slices.Clone(capabilities),
		},
		SELinuxOptions: label.DeepCopy(),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func environment(pod *corev1.Pod, earlier []corev1.EnvVar) []corev1.EnvVar {
	ours := []corev1.EnvVar{
		{Name: envPod, Value: "1"},
		{Name: envReport, Value: reportPath},
		{Name: EnvReportMax, Value: strconv.Itoa(reportMax(containers(pod)))},
		{Name: envDropFlows, Value: "1"},
	}
	return append(ours, slices.DeleteFunc(slices.Clone(earlier), func(v corev1.EnvVar) bool {
		return slices.ContainsFunc(ours, func(own corev1.EnvVar) bool { return own.Name == v.Name })
	})...)
}

func mounts(earlier []corev1.VolumeMount) []corev1.VolumeMount {
	ours := []corev1.VolumeMount{{Name: v1alpha1.VolumeName, MountPath: v1alpha1.MountPath, ReadOnly: true}}
	return append(ours, slices.DeleteFunc(slices.Clone(earlier), func(m corev1.VolumeMount) bool {
		return m.Name == v1alpha1.VolumeName
	})...)
}

// Where the kubelet cuts termination messages, in bytes: one container's when it
// reads it (MaxContainerTerminationMessageLength), and each container's share of
// the pod's when it writes the status (MaxPodTerminationMessageLogLength over
// the number of containers of every kind).
const (
	ContainerMessageMax = 4096
	PodMessageMax       = 12288
)

// reportMax is the number of bytes of a report that reach the status of a pod with
// that many containers.
func reportMax(containers int) int {
	return min(ContainerMessageMax, PodMessageMax/containers)
}

// containers is how many the pod has of all kinds.
func containers(pod *corev1.Pod) int {
	return len(pod.Spec.InitContainers) + len(pod.Spec.Containers) + len(pod.Spec.EphemeralContainers)
}
