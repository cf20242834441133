// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

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
