// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/hack/benchpage"
)

// editsPerSecond is how often a policy is changed.
const editsPerSecond = 10

// edit changes policies while pods roll, and looks how soon their ConfigMaps follow.
func (l *lab) edit(ctx context.Context, r *result) error {
	watch := &stopwatch{running: map[types.NamespacedName]lap{}}
	if err := watch.attach(ctx, l); err != nil {
		return err
	}
	rolls := &roller{lab: l}
	go l.profile(ctx, "edit-cpu", "profile", int(l.opts.edits.Seconds()/2))
	var err error
	r.Edits.phase, err = l.during(func() error {
		group, busy := errgroup.WithContext(ctx)
		group.Go(func() error { return pace(busy, l.opts.rolls, l.opts.edits, rolls.roll) })
		group.Go(func() error {
			return pace(busy, editsPerSecond, l.opts.edits, func(ctx context.Context, i int) error { return watch.edit(ctx, l, i) })
		})
		if err := group.Wait(); err != nil {
			return err
		}
		return watch.untilAllSeen(ctx)
	})
	if err != nil {
		return err
	}
	r.Edits.Edits, r.Edits.Rolled = len(watch.took), rolls.rolled()
	r.Edits.P50, r.Edits.P99, r.Edits.Max = watch.took.Quantile(0.5), watch.took.Quantile(0.99), watch.took.Quantile(1)
	_, err = l.untilQuiet(ctx)
	return err
}

// pace begins to do something rate times a second, many at a time where one takes
// longer than the next may wait.
func pace(ctx context.Context, rate float64, d time.Duration, do func(context.Context, int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(400)
	begin := time.Now()
	for i := range int(rate * d.Seconds()) {
		due := begin.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		select {
		case <-ctx.Done():
			return group.Wait()
		case <-time.After(time.Until(due)):
		}
		if time.Since(begin) > 2*d {
			break // the machine can't; what was reached is on the page
		}
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// stopwatch measures from an edit's request to the ConfigMap's event.
type stopwatch struct {
	mu      sync.Mutex
	running map[types.NamespacedName]lap
	took    benchpage.Samples
}

// lap is one measurement: since when, and the rules that end it.
type lap struct {
	since time.Time
	rules string
}

func (w *stopwatch) attach(ctx context.Context, l *lab) error {
	informer, err := l.seen.GetInformer(ctx, &corev1.ConfigMap{})
	if err != nil {
		return err
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{UpdateFunc: func(_, now any) { w.saw(now.(*corev1.ConfigMap)) }})
	return err
}

func (w *stopwatch) saw(c *corev1.ConfigMap) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := client.ObjectKeyFromObject(c)
	if run, ok := w.running[name]; ok && strings.Contains(c.Data[v1alpha1.FileIngress], run.rules) {
		w.took = append(w.took, time.Since(run.since).Seconds())
		delete(w.running, name)
	}
}

// edit changes the rules of one of the policies that have them as text, unless its
// last change is still under way.
func (w *stopwatch) edit(ctx context.Context, l *lab, i int) error {
	at := l.place(shapes * rand.IntN(l.Policies/shapes))
	port := 10000 + i
	if !w.begin(at, fmt.Sprintf("dport %d", port)) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"rules": map[string]any{"text": map[string]any{"ingress": textRules(port)}}}})
	if err != nil {
		return err
	}
	return l.Patch(ctx, at.policy(), client.RawPatch(types.MergePatchType, patch))
}

func (w *stopwatch) begin(at place, rules string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := types.NamespacedName{Namespace: at.namespace, Name: v1alpha1.ConfigMapName(at.name)}
	if _, ok := w.running[name]; ok {
		return false
	}
	w.running[name] = lap{time.Now(), rules}
	return true
}

func (w *stopwatch) untilAllSeen(ctx context.Context) error {
	for {
		w.mu.Lock()
		left := len(w.running)
		w.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d edits never reached their ConfigMap", left)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// roller replaces pods as a rollout does.
type roller struct {
	*lab
	mu sync.Mutex
	n  int
}

// roll deletes a pod and makes another in its place, through the webhook; its init
// container then attaches.
func (r *roller) roll(ctx context.Context, i int) error {
	at := i % len(r.pods)
	r.mu.Lock()
	old := r.pods[at]
	r.mu.Unlock()
	gone := pod(old.namespace, old.pod, old.name)
	if err := r.Delete(ctx, gone, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
		return err
	}
	next := placed{old.place, fmt.Sprintf("%s-r%d", old.name, i)}
	made := pod(next.namespace, next.pod, next.name)
	if err := r.Create(ctx, made); err != nil {
		return err
	}
	if made.Labels[v1alpha1.LabelInjected] != v1alpha1.InjectedTrue {
		return fmt.Errorf("pod %s/%s was missed", next.namespace, next.pod)
	}
	if err := r.attach(ctx, next); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pods[at], r.n = next, r.n+1
	return nil
}

func (r *roller) rolled() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == 0 {
		fmt.Fprintln(os.Stderr, "no pod rolled")
	}
	return r.n
}
