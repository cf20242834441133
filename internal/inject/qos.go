// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// resources are such that the pod's QoS class stays what it was. Requests equal
// to limits keep Guaranteed and Burstable pods what they are; any at all would
// make a BestEffort pod Burstable. Where the pod has resources of its own they
// alone decide the class, and a container's limit may not exceed them: none.
func resources(pod *corev1.Pod, opts Options) corev1.ResourceRequirements {
	if decidedByPod(pod) || bestEffort(pod) {
		return corev1.ResourceRequirements{}
	}
	amounts := func() corev1.ResourceList {
		return corev1.ResourceList{
			corev1.ResourceCPU:    orDefault(opts.CPU, DefaultCPU),
			corev1.ResourceMemory: orDefault(opts.Memory, DefaultMemory),
		}
	}
	return corev1.ResourceRequirements{Requests: amounts(), Limits: amounts()}
}

// decidedByPod says whether the pod itself requests or limits CPU or memory.
func decidedByPod(pod *corev1.Pod) bool {
	own := pod.Spec.Resources
	return own != nil && (counts(own.Requests) || counts(own.Limits))
}

// bestEffort says whether no container but ours requests or limits CPU or memory.
func bestEffort(pod *corev1.Pod) bool {
	return !slices.ContainsFunc(slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers), func(c corev1.Container) bool {
		return c.Name != v1alpha1.InitContainerName && (counts(c.Resources.Requests) || counts(c.Resources.Limits))
	})
}

// counts says whether the list gives an amount that decides the QoS class.
func counts(list corev1.ResourceList) bool {
	return !list.Cpu().IsZero() || !list.Memory().IsZero()
}

func orDefault(amount, fallback resource.Quantity) resource.Quantity {
	if amount.IsZero() {
		return fallback.DeepCopy()
	}
	return amount.DeepCopy()
}
