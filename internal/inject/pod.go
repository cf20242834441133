// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// Options is what the operator decides about the init container, for every pod.
type Options struct {
	// Image is the attacher's image, best by digest. Required.
	Image string
	// PullPolicy of Image. Empty: IfNotPresent.
	PullPolicy corev1.PullPolicy
	// CPU and Memory are request and limit of the init container, where the pod's
	// QoS class allows any. Zero: DefaultCPU and DefaultMemory. What the kernel
	// keeps in maps is charged to Memory while the container runs, and to the
	// pod's own memory afterwards.
	CPU, Memory resource.Quantity
	// SELinuxType of the init container's process, for nodes where what containers
	// have by default may not use BPF. Empty: what the runtime gives it.
	SELinuxType string
}

// Request and limit of the init container, when Options gives none. An attach
// takes tens of milliseconds of CPU time and a few MiB besides the maps.
var (
	DefaultCPU    = resource.MustParse("100m")
	DefaultMemory = resource.MustParse("128Mi")
)

// Pod injects the rules of the named policies into a pod that is about to be
// created. The order of policies has no meaning. A pod that opted out, and one
// that is selected by no policy and doesn't require any, stays as it is.
//
// Pod is idempotent: a pod that it already injected is changed only where its
// policies, its containers or opts did. What others add to the init container
// (environment, mounts) stays.
//
// It returns a *DeniedError for a pod that must not be created as it is, and
// then leaves the pod as it was.
func Pod(pod *corev1.Pod, policies []string, opts Options) error {
	switch {
	case OptedOut(pod):
		return nil
	case len(policies) == 0 && Required(pod):
		return notSelected()
	case len(policies) == 0:
		return nil
	case opts.Image == "":
		return errors.New("inject: no attacher image given")
	}
	if err := check(pod); err != nil {
		return err
	}
	setVolume(pod, policies)
	setContainer(pod, opts)
	setLabel(pod)
	return nil
}

// OptedOut says whether the pod's label keeps it from injection.
func OptedOut(pod *corev1.Pod) bool {
	return pod.Labels[v1alpha1.LabelInject] == v1alpha1.InjectFalse
}

// Required says whether the pod must not be created before a policy selects it.
func Required(pod *corev1.Pod) bool {
	return pod.Labels[v1alpha1.LabelInject] == v1alpha1.InjectRequired
}

// injected says whether the pod carries the label that Pod sets.
func injected(pod *corev1.Pod) bool {
	return pod.Labels[v1alpha1.LabelInjected] == v1alpha1.InjectedTrue
}

func setLabel(pod *corev1.Pod) {
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[v1alpha1.LabelInjected] = v1alpha1.InjectedTrue
}

// sorted returns the distinct names in order, so that one set of policies makes
// one pod.
func sorted(policies []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(policies)))
}
