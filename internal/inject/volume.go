// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// readOnly is the mode of the rules files. The init container reads them as
// their owner: without capabilities, root has no other way.
const readOnly int32 = 0o444

// setVolume makes the pod's volume of rules that of these policies, in the place
// of an earlier one.
func setVolume(pod *corev1.Pod, policies []string) {
	volume := rulesVolume(policies)
	at := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == volume.Name })
	if at < 0 {
		pod.Spec.Volumes = append(pod.Spec.Volumes, volume)
		return
	}
	pod.Spec.Volumes[at] = volume
}

// rulesVolume has a folder per policy with the files of its ConfigMap. No source
// is optional: until all ConfigMaps and keys exist the kubelet doesn't start the
// pod, so that none runs unfunneled by accident.
func rulesVolume(policies []string) corev1.Volume {
	var sources []corev1.VolumeProjection
	for _, policy := range sorted(policies) {
		sources = append(sources, rulesOf(policy))
	}
	mode := readOnly
	return corev1.Volume{
		Name: v1alpha1.VolumeName,
		VolumeSource: corev1.VolumeSource{
			Projected: &corev1.ProjectedVolumeSource{Sources: sources, DefaultMode: &mode},
		},
	}
}

func rulesOf(policy string) corev1.VolumeProjection {
	file := func(key string) corev1.KeyToPath { return corev1.KeyToPath{Key: key, Path: policy + "/" + key} }
	return corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: v1alpha1.ConfigMapName(policy)},
		Items:                []corev1.KeyToPath{file(v1alpha1.FileIngress), file(v1alpha1.FileEgress), file(v1alpha1.FileSettings)},
	}}
}
