// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// refreshesAtMost is how many refresh containers a pod gets over its life. They
// can't be removed, and each takes a share of the room for reports.
const refreshesAtMost = 5

// Why a pod can't be refreshed; a new pod in its place gets the current rules.
var (
	// ErrNotInjected is of pods that attached nothing when they started.
	ErrNotInjected = errors.New("it was not injected when it was created")
	// ErrNotMounted is of pods that were created before the policy selected them.
	ErrNotMounted = errors.New("it does not mount the policy's rules, as it was created before the policy selected it")
	// ErrSpent is of pods that had refreshesAtMost.
	ErrSpent = fmt.Errorf("it was refreshed %d times, which is the most in a pod's life", refreshesAtMost)
)

// EnvAwait is the variable of a refresh container with the rules that it waits for.
const EnvAwait = "SFUNNEL_AWAIT"

// Flows says what is done with flows that the programs in a pod remember.
type Flows string

// What can be done with them.
const (
	// KeepFlows hands them over to the new programs, which takes SYS_ADMIN while
	// the container runs.
	KeepFlows Flows = "keep"
	// RefuseFlows leaves pods that remember flows as they are.
	RefuseFlows Flows = "refuse"
	// DropFlows breaks them.
	DropFlows Flows = "drop"
)

// Refreshable returns why the pod can't be refreshed with the rules of that
// policy, or nil.
func Refreshable(pod *corev1.Pod, policy string) error {
	switch {
	case !injected(pod) || initContainer(pod) == nil:
		return ErrNotInjected
	case !slices.Contains(Policies(pod), policy):
		return ErrNotMounted
	case len(Refreshes(pod)) >= refreshesAtMost:
		return ErrSpent
	}
	return nil
}

// Policies are those whose rules an injected pod mounts, in ascending order.
func Policies(pod *corev1.Pod) []string {
	var names []string
	for _, v := range pod.Spec.Volumes {
		if v.Name != v1alpha1.VolumeName || v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if source.ConfigMap == nil {
				continue
			}
			if name, ok := strings.CutSuffix(source.ConfigMap.Name, v1alpha1.ConfigMapSuffix); ok {
				names = append(names, name)
			}
		}
	}
	return sorted(names)
}

// Refreshes are the refresh containers of the pod, those that ended included, in
// the order in which they were added.
func Refreshes(pod *corev1.Pod) []corev1.EphemeralContainer {
	ours := slices.DeleteFunc(slices.Clone(pod.Spec.EphemeralContainers), func(c corev1.EphemeralContainer) bool {
		return !IsRefresh(c.Name)
	})
	slices.SortStableFunc(ours, func(a, b corev1.EphemeralContainer) int { return number(a) - number(b) })
	return ours
}

// IsRefresh reports whether a container of that name is one of ours that brings
// rules to a running pod.
func IsRefresh(name string) bool { return strings.HasPrefix(name, v1alpha1.RefreshPrefix) }

// Awaits returns the digest of the policy's rules for which a refresh container
// waits, "" for none.
func Awaits(c corev1.EphemeralContainer, policy string) string {
	for _, v := range c.Env {
		if v.Name != EnvAwait {
			continue
		}
		for _, field := range strings.Split(v.Value, ",") {
			if name, digest, _ := strings.Cut(field, "="); name == policy {
				return digest
			}
		}
	}
	return ""
}

// Refresh returns the next refresh container of an injected pod: it waits until the
// kubelet has brought the rules of these digests, by policy, attaches all that the
// pod mounts, reports as the init container does, and ends. remembers says that
// the programs in the pod remember flows. The image is the init container's: the
// node has it, and it made the flow tables that may be to be handed over. So is the
// SELinux label, with which attaching was permitted.
func Refresh(pod *corev1.Pod, await map[string]string, flows Flows, remembers bool) (corev1.EphemeralContainer, error) {
	for _, policy := range slices.Sorted(maps.Keys(await)) {
		if err := Refreshable(pod, policy); err != nil {
			return corev1.EphemeralContainer{}, err
		}
	}
	first, earlier := initContainer(pod), Refreshes(pod)
	capabilities := slices.Clone(attaching)
	if remembers && flows == KeepFlows {
		capabilities = append(capabilities, "SYS_ADMIN")
	}
	env := []corev1.EnvVar{
		{Name: envPod, Value: "1"},
		{Name: envReport, Value: reportPath},
		{Name: EnvReportMax, Value: strconv.Itoa(refreshReportMax(first, len(pod.Spec.EphemeralContainers)-len(earlier)))},
		{Name: EnvAwait, Value: awaitValue(await)},
	}
	if flows == DropFlows {
		env = append(env, corev1.EnvVar{Name: envDropFlows, Value: "1"})
	}
	return corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name:                     fmt.Sprintf("%s%d", v1alpha1.RefreshPrefix, nextNumber(earlier)),
		Image:                    first.Image,
		ImagePullPolicy:          first.ImagePullPolicy,
		Env:                      env,
		VolumeMounts:             mounts(nil),
		SecurityContext:          privileges(labelOf(first), capabilities...),
		TerminationMessagePath:   reportPath,
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
	}}, nil
}

func labelOf(first *corev1.Container) *corev1.SELinuxOptions {
	if first.SecurityContext == nil {
		return nil
	}
	return first.SecurityContext.SELinuxOptions
}

// RefreshPatch is a strategic merge patch of the subresource ephemeralcontainers
// that adds the container to the pod as it was seen: the API server refuses it when
// the pod is another one, or has changed since.
func RefreshPatch(pod *corev1.Pod, c corev1.EphemeralContainer) ([]byte, error) {
	return json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID, "resourceVersion": pod.ResourceVersion},
		"spec":     map[string]any{"ephemeralContainers": []corev1.EphemeralContainer{c}},
	})
}

// refreshReportMax is the number of bytes of each refresh container's report that
// reach the status of a pod when it has all that it can get, beside so many other
// ephemeral containers. How many containers the pod began with follows from the
// init container's share.
func refreshReportMax(first *corev1.Container, others int) int {
	share := ContainerMessageMax
	for _, v := range first.Env {
		if n, err := strconv.Atoi(v.Value); v.Name == EnvReportMax && err == nil && n > 0 {
			share = min(n, ContainerMessageMax)
		}
	}
	return reportMax(PodMessageMax/share + refreshesAtMost + others)
}

// nextNumber is one that no earlier container has.
func nextNumber(earlier []corev1.EphemeralContainer) int {
	last := 0
	for _, c := range earlier {
		last = max(last, number(c))
	}
	return last + 1
}

// number is that in a refresh container's name, 0 for a name that somebody else made.
func number(c corev1.EphemeralContainer) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(c.Name, v1alpha1.RefreshPrefix))
	return n
}

func awaitValue(await map[string]string) string {
	var fields []string
	for _, policy := range slices.Sorted(maps.Keys(await)) {
		fields = append(fields, policy+"="+await[policy])
	}
	return strings.Join(fields, ",")
}

// initContainer is ours, nil when there is none.
func initContainer(pod *corev1.Pod) *corev1.Container {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == v1alpha1.InitContainerName {
			return &pod.Spec.InitContainers[i]
		}
	}
	return nil
}
