// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

// randomPods differ in all that injection looks at. None has a fault, and none
// requires a policy. The first is opted out: few others are.
func randomPods(t *testing.T, n int) []*corev1.Pod {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	draw := podSource{rand.New(rand.NewPCG(seed, 0))}
	var pods []*corev1.Pod
	for range n {
		pods = append(pods, draw.pod())
	}
	pods[0].Labels = map[string]string{"app": "web", v1alpha1.LabelInject: v1alpha1.InjectFalse}
	return pods
}

type podSource struct{ *rand.Rand }

func (r podSource) pod() *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Labels = r.labels()
	for i := range 1 + r.IntN(5) {
		pod.Spec.Containers = append(pod.Spec.Containers, r.container(fmt.Sprintf("app-%d", i)))
	}
	for i := range r.IntN(4) {
		c := r.container(fmt.Sprintf("init-%d", i))
		if r.one(3) {
			c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
		}
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
	}
	for i := range r.IntN(3) {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: fmt.Sprintf("data-%d", i)})
	}
	if r.one(6) {
		pod.Spec.Resources = &corev1.ResourceRequirements{Limits: amounts("20", "20Gi"), Requests: amounts("20", "20Gi")}
	}
	if r.one(4) {
		r.injectEarlier(pod)
	}
	return pod
}

func (r podSource) labels() map[string]string {
	labels := map[string]string{}
	for key, values := range map[string][]string{
		"app": {"web", "web", "db"}, "tier": {"front", "middle", "back"}, "example.com/canary": {"yes", "no"},
		v1alpha1.LabelInject: {"false", "true", ""},
	} {
		if i := r.IntN(len(values) + 1); i < len(values) {
			labels[key] = values[i]
		}
	}
	if labels[v1alpha1.LabelInject] == v1alpha1.InjectFalse && !r.one(4) {
		delete(labels, v1alpha1.LabelInject)
	}
	if len(labels) == 0 {
		return nil
	}
	return labels
}

func (r podSource) container(name string) corev1.Container {
	c := corev1.Container{Name: name, Image: "app:1"}
	switch r.IntN(6) {
	case 0:
		c.Resources.Requests = amounts("500m", "64Mi")
	case 1:
		c.Resources.Limits = amounts("1", "1Gi")
	case 2:
		c.Resources.Requests = amounts("0", "0")
	case 3:
		c.Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("0.5Gi")}
	}
	return c
}

func amounts(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

// injectEarlier makes it a copy of a pod that was injected for other policies, and
// that others have changed since.
func (r podSource) injectEarlier(pod *corev1.Pod) {
	if err := inject.Pod(pod, []string{"gone", "web"}[r.IntN(2):], inject.Options{Image: "attacher:old"}); err != nil {
		panic(err)
	}
	if inject.OptedOut(pod) {
		return
	}
	ours := &pod.Spec.InitContainers[0]
	if r.one(2) {
		ours.Env = append([]corev1.EnvVar{{Name: "NODE", Value: "a"}}, ours.Env...)
		ours.Env = append(ours.Env, corev1.EnvVar{Name: "POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}})
	}
	if r.one(2) {
		pod.Spec.Volumes = append([]corev1.Volume{{Name: "token"}}, pod.Spec.Volumes...)
		ours.VolumeMounts = append(ours.VolumeMounts, corev1.VolumeMount{Name: "token", MountPath: "/token"})
	}
	if r.one(2) {
		last := len(pod.Spec.InitContainers) - 1
		pod.Spec.InitContainers[0], pod.Spec.InitContainers[last] = pod.Spec.InitContainers[last], pod.Spec.InitContainers[0]
	}
}

// one is true once in n times.
func (r podSource) one(n int) bool { return r.IntN(n) == 0 }
