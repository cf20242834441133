// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// listedPods are what a list returns.
type listedPods struct {
	client.Reader
	pods []corev1.Pod
}

func (l listedPods) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	into.(*corev1.PodList).Items = l.pods
	return nil
}

// Most policies have no pods that were not injected: until they are reconciled they cost
// nothing, and then they have a census of none. One that came later has none.
func TestASweepKeepsACensusWhereThereArePods(t *testing.T) {
	var listed listedPods
	indexer := newIndexer(policyIndexers)
	var all []*v1alpha1.FunnelPolicy
	for i := range 2 * sweepFrom {
		app := fmt.Sprint("app-", i)
		p := &v1alpha1.FunnelPolicy{}
		p.Namespace, p.Name, p.UID = "shop", app, types.UID(app)
		p.Spec.PodSelector.MatchLabels = map[string]string{"app": app}
		if err := indexer.Add(p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	for range 2 {
		pod := corev1.Pod{}
		pod.Labels = map[string]string{"app": all[1].Name}
		listed.pods = append(listed.pods, pod)
	}
	r := &FunnelPolicyReconciler{Clock: clock.RealClock{}, Live: listed, policies: policies{indexer: indexer}}
	now := time.Now()
	r.started.Store(&now)
	for i, p := range all {
		others, _, err := r.swept(t.Context(), p)
		if err != nil || others == nil {
			t.Fatalf("%s: got %v, %v", p.Name, others, err)
		}
		want := int32(0)
		if p == all[1] {
			want = 2
		}
		if got := others.Counts().Missing; got != want {
			t.Errorf("%s: %d pods, want %d", p.Name, got, want)
		}
		if i > 0 {
			continue
		}
		for of, census := range r.memory.sweep("shop").found {
			if (census != nil) != (of == revision(all[1])) {
				t.Errorf("%s waits with the census %v", of, census)
			}
		}
	}
	if kept := r.memory.sweep("shop").found; kept != nil {
		t.Errorf("kept %v", kept)
	}
	if others, _, err := r.swept(t.Context(), all[0]); others != nil || err != nil {
		t.Errorf("found again: %v, %v", others, err)
	}
}
