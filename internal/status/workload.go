// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// renew is the command that replaces a pod by one with the current rules. A
// Deployment's name is that of its ReplicaSet without the pod template's hash,
// so that nobody needs permission to read Deployments.
func renew(pod *corev1.Pod) string {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return fmt.Sprintf("kubectl -n %s replace --force -f FILE (the file that pod %s was made from)", pod.Namespace, pod.Name)
	}
	kind := owner.Kind
	if group, _, _ := strings.Cut(owner.APIVersion, "/"); group != appsv1.GroupName {
		kind = "" // of somebody else's workloads, which rollout does not know
	}
	switch kind {
	case "ReplicaSet":
		if name, ok := deployment(owner.Name, pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]); ok {
			return restart(pod.Namespace, "deployment", name)
		}
	case "StatefulSet", "DaemonSet":
		return restart(pod.Namespace, strings.ToLower(owner.Kind), owner.Name)
	}
	return fmt.Sprintf("kubectl -n %s delete pod %s", pod.Namespace, pod.Name)
}

func restart(namespace, kind, name string) string {
	return fmt.Sprintf("kubectl -n %s rollout restart %s/%s", namespace, kind, name)
}

func deployment(replicaSet, hash string) (name string, ok bool) {
	if hash == "" {
		return "", false
	}
	return strings.CutSuffix(replicaSet, "-"+hash)
}
