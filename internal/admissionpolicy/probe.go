// SPDX-License-Identifier: Apache-2.0

package admissionpolicy

import (
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

// What inject.Pod is given for the parts that differ from pod to pod, and what
// stands there in an expression instead.
const (
	policyMark = "THE-POLICY"
	imageMark  = "THE-IMAGE"
	pullMark   = "THE-PULL-POLICY"
	cpuMark    = "1001m"
	memoryMark = "1001Mi"
	labelMark  = "THE-SELINUX-TYPE"
)

var marks = map[string]expression{
	policyMark: "variables.policy",
	imageMark:  "variables.image",
	pullMark:   "variables.pullPolicy",
	cpuMark:    "variables.cpu",
	memoryMark: "variables.memory",
	labelMark:  "variables.seLinuxType",
}

// added is what inject.Pod adds to a pod that keeps its QoS class with requests.
func added() (container, volume map[string]any) {
	pod := probe()
	full := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: full, Limits: full}
	opts := inject.Options{
		Image: imageMark, PullPolicy: pullMark,
		CPU: resource.MustParse(cpuMark), Memory: resource.MustParse(memoryMark), SELinuxType: labelMark,
	}
	if err := inject.Pod(pod, []string{policyMark}, opts); err != nil {
		panic(err) // the probe has no fault
	}
	return decoded(pod.Spec.InitContainers[0]), decoded(pod.Spec.Volumes[0])
}

// refusal is what inject.Pod says to a pod with one fault.
func refusal(policies []string, fault func(*corev1.Pod)) string {
	pod := probe()
	fault(pod)
	var denied *inject.DeniedError
	if err := inject.Pod(pod, policies, inject.Options{Image: imageMark}); !errors.As(err, &denied) || len(denied.Faults) != 1 {
		panic(fmt.Sprintf("inject.Pod no longer refuses what the policies refuse: %v", err))
	}
	return denied.Faults[0]
}

func probe() *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
}

// decoded is the value as JSON has it.
func decoded(value any) map[string]any {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	object := map[string]any{}
	if err := json.Unmarshal(encoded, &object); err != nil {
		panic(err)
	}
	return object
}
