// SPDX-License-Identifier: Apache-2.0

package inject_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// qosClass is Kubernetes' documented rule ("Pod Quality of Service Classes"):
// Guaranteed when every container has limits for CPU and memory that equal its
// requests; BestEffort when none has any; Burstable otherwise. Requests that are
// absent equal their limits. Resources of the pod itself are looked at instead
// of those of its containers. Init containers count.
func qosClass(pod *corev1.Pod) corev1.PodQOSClass {
	parts := []corev1.ResourceRequirements{}
	for _, c := range append(append([]corev1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...) {
		parts = append(parts, c.Resources)
	}
	if r := pod.Spec.Resources; r != nil && len(r.Requests)+len(r.Limits) > 0 {
		parts = []corev1.ResourceRequirements{*r}
	}
	guaranteed, bestEffort := true, true
	for _, part := range parts {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, request := part.Limits[name], part.Requests[name]
			if _, given := part.Requests[name]; !given {
				request = limit
			}
			guaranteed = guaranteed && !limit.IsZero() && limit.Cmp(request) == 0
			bestEffort = bestEffort && limit.IsZero() && request.IsZero()
		}
	}
	switch {
	case bestEffort:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

func TestQOSClassStaysWhatItWas(t *testing.T) {
	full := resourcesOf("1", "1Gi", "1", "1Gi")
	none := corev1.ResourceRequirements{}
	rows := []struct {
		name    string
		pod     *corev1.Pod
		class   corev1.PodQOSClass
		amounts bool // whether the init container has requests and limits
	}{
		{"nothing given", podWith(resources("app", none)), corev1.PodQOSBestEffort, false},
		{"zero given", podWith(resources("app", resourcesOf("0", "0", "0", "0"))), corev1.PodQOSBestEffort, false},
		{"a device only", podWith(resources("app", device)), corev1.PodQOSBestEffort, false},
		{"all equal", podWith(resources("app", full)), corev1.PodQOSGuaranteed, true},
		{"limits only", podWith(resources("app", resourcesOf("", "", "1", "1Gi"))), corev1.PodQOSGuaranteed, true},
		{"two containers, all equal", podWith(resources("app", full), container("side"), resources("side", full)), corev1.PodQOSGuaranteed, true},
		{"two containers, one without", podWith(resources("app", full), container("side")), corev1.PodQOSBurstable, true},
		{"a request only", podWith(resources("app", resourcesOf("1", "", "", ""))), corev1.PodQOSBurstable, true},
		{"memory equal, no CPU", podWith(resources("app", resourcesOf("", "1Gi", "", "1Gi"))), corev1.PodQOSBurstable, true},
		{"limits above requests", podWith(resources("app", resourcesOf("1", "1Gi", "2", "1Gi"))), corev1.PodQOSBurstable, true},
		{"an init container only", podWith(initContainer("setup"), resources("setup", full)), corev1.PodQOSBurstable, true},
		{"the pod, all equal", podWith(podResources(full)), corev1.PodQOSGuaranteed, false},
		{"the pod, memory only", podWith(podResources(resourcesOf("", "16Mi", "", "16Mi"))), corev1.PodQOSBurstable, false},
		{"the pod, and its containers less", podWith(podResources(full), resources("app", resourcesOf("1", "", "", ""))), corev1.PodQOSGuaranteed, false},
		{"the pod in an empty way, containers equal", podWith(podResources(none), resources("app", full)), corev1.PodQOSGuaranteed, true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if got := qosClass(row.pod); got != row.class {
				t.Fatalf("before: %s, want %s", got, row.class)
			}
			mustInject(t, row.pod, nil)
			mustInject(t, row.pod, nil)
			if got := qosClass(row.pod); got != row.class {
				t.Errorf("after: %s, want %s", got, row.class)
			}
			got := row.pod.Spec.InitContainers[0].Resources
			if amounts := len(got.Requests) == 2 && len(got.Limits) == 2; amounts != row.amounts {
				t.Errorf("the init container has %+v", got)
			}
		})
	}
}

var device = corev1.ResourceRequirements{
	Requests: corev1.ResourceList{"example.com/device": quantity("1")},
	Limits:   corev1.ResourceList{"example.com/device": quantity("1")},
}

// resources gives those of the container, or init container, of that name.
func resources(name string, r corev1.ResourceRequirements) change {
	return func(p *corev1.Pod) {
		for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
			for i := range list {
				if list[i].Name == name {
					list[i].Resources = r
				}
			}
		}
	}
}

func podResources(r corev1.ResourceRequirements) change {
	return func(p *corev1.Pod) { p.Spec.Resources = &r }
}
