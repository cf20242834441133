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
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/hack/benchpage"
	"github.com/sfunnel-io/funnel-operator/internal/managertest"
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
		return watch.untilAllSeen(ctx, l.manager)
	})
	if err != nil {
		return err
	}
	r.Edits.Asked, r.Edits.Edits, r.Edits.Rolled, r.Edits.Refused = l.opts.rolls, len(watch.took), rolls.rolled(), rolls.refused()
	r.Edits.P50, r.Edits.P99, r.Edits.Max = watch.took.Quantile(0.5), watch.took.Quantile(0.99), watch.took.Quantile(1)
	r.Edits.OwnP50, r.Edits.OwnP99 = watch.own.Quantile(0.5), watch.own.Quantile(0.99)
	_, err = l.untilQuiet(ctx)
	return err
}

// pace begins to do something rate times a second, some at a time where one takes
// longer than the next may wait, and less often where these are too few.
func pace(ctx context.Context, rate float64, d time.Duration, do func(context.Context, int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
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

// stopwatch measures from an edit's request to the ConfigMap's event, and of that
// from the edit's own event, which the manager sees at the same time as we do.
type stopwatch struct {
	mu        sync.Mutex
	running   map[types.NamespacedName]lap
	took, own benchpage.Samples
}

// lap is one measurement: since when, and the rules that end it. edited is when
// they were seen in the policy.
type lap struct {
	since, edited time.Time
	rules         string
}

func (w *stopwatch) attach(ctx context.Context, l *lab) error {
	for _, follow := range []struct {
		kind   client.Object
		update func(any)
	}{
		{&v1alpha1.FunnelPolicy{}, func(now any) { w.sawEdit(now.(*v1alpha1.FunnelPolicy)) }},
		{&corev1.ConfigMap{}, func(now any) { w.saw(now.(*corev1.ConfigMap)) }},
	} {
		informer, err := l.seen.GetInformer(ctx, follow.kind)
		if err != nil {
			return err
		}
		handler := toolscache.ResourceEventHandlerFuncs{UpdateFunc: func(_, now any) { follow.update(now) }}
		if _, err = informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	return nil
}

func (w *stopwatch) sawEdit(p *v1alpha1.FunnelPolicy) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := types.NamespacedName{Namespace: p.Namespace, Name: v1alpha1.ConfigMapName(p.Name)}
	run, ok := w.running[name]
	if !ok || !run.edited.IsZero() || p.Spec.Rules.Text == nil || !strings.Contains(p.Spec.Rules.Text.Ingress, run.rules) {
		return
	}
	run.edited = time.Now()
	w.running[name] = run
}

// saw ends a lap. A ConfigMap whose policy's event has not come yet was written in no time.
func (w *stopwatch) saw(c *corev1.ConfigMap) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := client.ObjectKeyFromObject(c)
	run, ok := w.running[name]
	if !ok || !strings.Contains(c.Data[v1alpha1.FileIngress], run.rules) {
		return
	}
	own := 0.0
	if !run.edited.IsZero() {
		own = time.Since(run.edited).Seconds()
	}
	w.took, w.own = append(w.took, time.Since(run.since).Seconds()), append(w.own, own)
	delete(w.running, name)
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
	w.running[name] = lap{since: time.Now(), rules: rules}
	return true
}

func (w *stopwatch) untilAllSeen(ctx context.Context, m *managertest.Manager) error {
	for {
		w.mu.Lock()
		left := len(w.running)
		w.mu.Unlock()
		if left == 0 {
			return nil
		}
		if m.Ended() {
			return fmt.Errorf("%d edits did not reach their ConfigMap", left)
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
	no atomic.Int64 // refusals
}

// roll deletes a pod, to which its Service no longer leads, and makes another in its
// place, through the webhook; its init container then attaches, and the Service leads to it.
func (r *roller) roll(ctx context.Context, i int) error {
	at := i % len(r.pods)
	r.mu.Lock()
	old := r.pods[at]
	r.mu.Unlock()
	if err := r.lead(ctx, at, old, false); err != nil {
		return err
	}
	gone := pod(old.namespace, old.pod, old.name)
	if err := r.Delete(ctx, gone, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
		return err
	}
	next := placed{old.place, fmt.Sprintf("%s-r%d", old.name, i)}
	made := pod(next.namespace, next.pod, next.name)
	if err := r.insist(ctx, made, &r.no); err != nil {
		return err
	}
	if made.Labels[v1alpha1.LabelInjected] != v1alpha1.InjectedTrue {
		return fmt.Errorf("pod %s/%s was missed", next.namespace, next.pod)
	}
	if err := r.attach(ctx, next); err != nil {
		return err
	}
	if err := r.lead(ctx, at, next, true); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pods[at], r.n = next, r.n+1
	return nil
}

// lead writes into the slice of its Service whether the pod is ready, as the cluster's
// controller would.
func (r *roller) lead(ctx context.Context, at int, to placed, ready bool) error {
	if !to.backend() {
		return nil
	}
	patch := fmt.Sprintf(`[{"op":"replace","path":"/endpoints/%d/targetRef/name","value":%q},{"op":"replace","path":"/endpoints/%[1]d/conditions/ready","value":%[3]t}]`,
		at/r.Policies, to.pod, ready)
	return r.Patch(ctx, to.endpoints(nil, ready), client.RawPatch(types.JSONPatchType, []byte(patch)))
}

func (r *roller) refused() int { return int(r.no.Load()) }

func (r *roller) rolled() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == 0 {
		fmt.Fprintln(os.Stderr, "no pod rolled")
	}
	return r.n
}
