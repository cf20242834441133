// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/report"
)

// attachAll writes what the kubelet does when the init containers of these pods have
// attached what their ConfigMaps hold.
func (l *lab) attachAll(ctx context.Context, pods []placed) error {
	return each(ctx, len(pods), func(ctx context.Context, i int) error { return l.attach(ctx, pods[i]) })
}

// readyAll makes all backends ready endpoints of their Services.
func (l *lab) readyAll(ctx context.Context) error {
	return each(ctx, l.Policies, func(ctx context.Context, i int) error {
		if at := l.place(i); at.backend() {
			return l.Update(ctx, at.endpoints(l.podsOf(i), true))
		}
		return nil
	})
}

func (l *lab) attach(ctx context.Context, p placed) error {
	digest, err := l.digest(ctx, p.place)
	if err != nil {
		return err
	}
	line := report.Report{
		Result: report.Attached, Digests: map[string]string{p.name: digest}, Kernel: "6.12.0",
		Interfaces: []report.Interface{{Name: "eth0", MTU: 1500, Headroom: 1500, IngressRules: 1}},
	}.Marshal(0)
	status := corev1.PodStatus{Phase: corev1.PodRunning, InitContainerStatuses: []corev1.ContainerStatus{{
		Name:  v1alpha1.InitContainerName,
		State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", Message: string(line)}},
	}}}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	target := &corev1.Pod{}
	target.Namespace, target.Name = p.namespace, p.pod
	return l.Status().Patch(ctx, target, client.RawPatch(types.StrategicMergePatchType, patch))
}

// digest is that of the rules which a pod mounts now.
func (l *lab) digest(ctx context.Context, at place) (string, error) {
	var mounted corev1.ConfigMap
	name := types.NamespacedName{Namespace: at.namespace, Name: v1alpha1.ConfigMapName(at.name)}
	if err := l.seen.Get(ctx, name, &mounted, client.UnsafeDisableDeepCopy); err != nil {
		return "", err
	}
	var settings struct{ Digest string }
	if err := json.Unmarshal([]byte(mounted.Data[v1alpha1.FileSettings]), &settings); err != nil {
		return "", fmt.Errorf("ConfigMap %s: %w", name, err)
	}
	return settings.Digest, nil
}
