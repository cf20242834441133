// SPDX-License-Identifier: Apache-2.0

package inject_test

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

type change func(*corev1.Pod)

// podWith is a pod with one container "app" and these changes.
func podWith(changes ...change) *corev1.Pod {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:1"}}}}
	for _, c := range changes {
		c(pod)
	}
	return pod
}

func label(key, value string) change {
	return func(p *corev1.Pod) {
		if p.Labels == nil {
			p.Labels = map[string]string{}
		}
		p.Labels[key] = value
	}
}

func container(name string) change {
	return func(p *corev1.Pod) { p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name}) }
}

func initContainer(name string) change {
	return func(p *corev1.Pod) {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: name})
	}
}

func ephemeralContainer(name string) change {
	return func(p *corev1.Pod) {
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name},
		})
	}
}

func volume(name string) change {
	return func(p *corev1.Pod) { p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name}) }
}

func hostNetwork(p *corev1.Pod) { p.Spec.HostNetwork = true }

func hostUsers(host bool) change {
	return func(p *corev1.Pod) { p.Spec.HostUsers = &host }
}

func quantity(text string) resource.Quantity { return resource.MustParse(text) }

// resourcesOf gives requests and limits; an empty text leaves an amount out.
func resourcesOf(requestCPU, requestMemory, limitCPU, limitMemory string) corev1.ResourceRequirements {
	list := func(cpu, memory string) corev1.ResourceList {
		amounts := corev1.ResourceList{}
		if cpu != "" {
			amounts[corev1.ResourceCPU] = quantity(cpu)
		}
		if memory != "" {
			amounts[corev1.ResourceMemory] = quantity(memory)
		}
		return amounts
	}
	return corev1.ResourceRequirements{Requests: list(requestCPU, requestMemory), Limits: list(limitCPU, limitMemory)}
}
