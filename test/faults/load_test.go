// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/report"
)

// under does it while pods roll, policies change and the kubelet works.
func (w *world) under(t *testing.T, do func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	busy := []func(context.Context) error{w.roll, w.edit, w.remake, w.kubelet}
	ended := make(chan error, len(busy))
	for _, one := range busy {
		go func() { ended <- repeat(ctx, one) }()
	}
	err := do(ctx)
	cancel()
	for range busy {
		<-ended // what was under way when it was cancelled is made good by mustConverge
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, w.manager.Log())
	}
}

func repeat(ctx context.Context, do func(context.Context) error) error {
	for ctx.Err() == nil {
		if err := do(ctx); err != nil {
			sleep(ctx, 50*time.Millisecond)
		}
		sleep(ctx, 20*time.Millisecond)
	}
	return ctx.Err()
}

// newPod makes one through the webhook.
func (w *world) newPod(ctx context.Context, p *place) error {
	p.mu.Lock()
	p.made++
	name := fmt.Sprintf("%s-%d", p.name, p.made)
	p.mu.Unlock()
	return w.insist(ctx, "create a pod", func() error {
		err := w.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: name, Labels: map[string]string{"app": p.name}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
		})
		if apierrors.IsAlreadyExists(err) {
			return nil // the answer was lost
		}
		return err
	})
}

// roll replaces a pod: the new one first. While the policy does not exist the new one
// would have no rules, so that nothing rolls then.
func (w *world) roll(ctx context.Context) error {
	p := w.places[w.intN(len(w.places))]
	pods, err := w.podsOf(ctx, p)
	if err != nil || len(pods) == 0 {
		return err
	}
	if err := w.Get(ctx, p.key(), &v1alpha1.FunnelPolicy{}); err != nil {
		return err
	}
	if err := w.newPod(ctx, p); err != nil {
		return err
	}
	w.rolled.Add(1)
	return w.insist(ctx, "delete a pod", func() error {
		return client.IgnoreNotFound(w.Delete(ctx, &pods[0], client.GracePeriodSeconds(0)))
	})
}

func (w *world) podsOf(ctx context.Context, p *place) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := w.List(ctx, &list, client.InNamespace(p.namespace), client.MatchingLabels{"app": p.name})
	return list.Items, err
}

// edit changes the rules of one of the policies that have them as text.
func (w *world) edit(ctx context.Context) error {
	p := w.places[w.intN(len(w.places))]
	if p.rules == "" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	rules := text(3000 + w.intN(60000))
	patch := fmt.Sprintf(`{"spec":{"rules":{"text":{"ingress":%q}}}}`, rules)
	err := w.Patch(ctx, &v1alpha1.FunnelPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name}}, client.RawPatch(types.MergePatchType, []byte(patch)))
	if err == nil {
		w.edited.Add(1)
	}
	return err
}

// remake deletes a policy and makes it again, and lets another fight for its pods
// meanwhile.
func (w *world) remake(ctx context.Context) error {
	sleep(ctx, w.upTo(2*time.Second))
	p := w.places[w.intN(len(w.places))]
	if p.rules == "" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	rival := p.rival()
	if err := w.Create(ctx, rival); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	sleep(ctx, w.upTo(300*time.Millisecond))
	for _, gone := range []client.Object{p.policy(), rival} {
		if err := w.insist(ctx, "delete a policy", func() error { return client.IgnoreNotFound(w.Delete(ctx, gone)) }); err != nil {
			return err
		}
	}
	sleep(ctx, w.upTo(300*time.Millisecond))
	w.remade.Add(1)
	return w.insist(ctx, "make a policy again", func() error {
		err := w.Create(ctx, p.policy())
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
}

// rival selects the same pods and says otherwise about the same packets.
func (p *place) rival() *v1alpha1.FunnelPolicy {
	rival := p.policy()
	rival.Name += "-rival"
	rival.Spec.Rules.Text.Ingress = "tcp dport 1179 pushed drop"
	return rival
}

// kubelet starts pods whose ConfigMaps are there, and keeps the endpoints of backends.
func (w *world) kubelet(ctx context.Context) error {
	for _, p := range w.places {
		pods, err := w.podsOf(ctx, p)
		if err != nil {
			return err
		}
		for i := range pods {
			if pods[i].Status.Phase == corev1.PodPending {
				if err := w.startPod(ctx, &pods[i]); err != nil {
					return err
				}
			}
		}
		if p.backend {
			if err := w.keepEndpoints(ctx, p, pods); err != nil {
				return err
			}
		}
	}
	return nil
}

// startPod writes what the init container reports of all ConfigMaps that the pod mounts.
func (w *world) startPod(ctx context.Context, pod *corev1.Pod) error {
	digests := map[string]string{}
	for _, source := range mounted(pod) {
		var rules corev1.ConfigMap
		if err := w.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: source}, &rules); err != nil {
			return client.IgnoreNotFound(err) // it waits in ContainerCreating
		}
		var settings struct{ Digest string }
		if err := json.Unmarshal([]byte(rules.Data[v1alpha1.FileSettings]), &settings); err != nil {
			return err
		}
		digests[rules.Labels[v1alpha1.LabelPolicy]] = settings.Digest
	}
	line := report.Report{Result: report.Attached, Digests: digests}.Marshal(0)
	pod.Status.Phase = corev1.PodRunning
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{
		Name:  v1alpha1.InitContainerName,
		State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: string(line)}},
	}}
	return client.IgnoreNotFound(w.Status().Update(ctx, pod))
}

// mounted names the ConfigMaps that injection mounts into the pod.
func mounted(pod *corev1.Pod) []string {
	var names []string
	for _, volume := range pod.Spec.Volumes {
		if volume.Name != v1alpha1.VolumeName {
			continue
		}
		for _, source := range volume.Projected.Sources {
			names = append(names, source.ConfigMap.Name)
		}
	}
	return names
}

func (w *world) keepEndpoints(ctx context.Context, p *place, pods []corev1.Pod) error {
	var running []corev1.Pod
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodRunning {
			running = append(running, pod)
		}
	}
	slice := p.endpoints(running)
	err := w.Update(ctx, slice)
	if apierrors.IsNotFound(err) {
		return w.Create(ctx, slice)
	}
	return err
}
