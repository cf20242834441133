// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

func TestPoliciesThatAreMadeAgainAreLookedAt(t *testing.T) {
	made := func(uid types.UID, generation int64) *v1alpha1.FunnelPolicy {
		return &v1alpha1.FunnelPolicy{ObjectMeta: metav1.ObjectMeta{UID: uid, Generation: generation}}
	}
	for name, row := range map[string]struct {
		after *v1alpha1.FunnelPolicy
		want  bool
	}{"status": {made("a", 1), false}, "edited": {made("a", 2), true}, "made again": {made("b", 1), true}} {
		if got := specChanged.Update(event.UpdateEvent{ObjectOld: made("a", 1), ObjectNew: row.after}); got != row.want {
			t.Errorf("%s: passes: %v", name, got)
		}
	}
}

// An edit that comes last is reconciled before all that pods asked for.
func TestEditsGoBeforePods(t *testing.T) {
	queue := priorityqueue.New[reconcile.Request](t.Name())
	defer queue.ShutDown()
	pods := later(handler.EnqueueRequestsFromMapFunc(func(_ context.Context, pod client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: pod.GetLabels()["policy"]}}}
	}))
	for _, name := range []string{"a", "b"} {
		pod := &corev1.Pod{}
		pod.Labels = map[string]string{"policy": name}
		pods.Create(t.Context(), event.CreateEvent{Object: pod}, queue)
	}
	time.Sleep(2 * aMoment)
	queue.Add(reconcile.Request{NamespacedName: types.NamespacedName{Name: "edited"}})
	time.Sleep(aMoment)
	if first, _ := queue.Get(); first.Name != "edited" {
		t.Errorf("%s went first", first.Name)
	}
	if next, priority, _ := queue.GetWithPriority(); next.Name == "" || priority != lowPriority {
		t.Errorf("then %s, with priority %d", next.Name, priority)
	}
}
