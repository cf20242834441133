// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/hack/benchpage"
)

// createPods creates pods at each rate and looks at each.
func (l *lab) createPods(ctx context.Context, r *result) error {
	for _, rate := range l.opts.creates {
		c, err := l.createAt(ctx, rate)
		if err != nil {
			return err
		}
		r.Creates = append(r.Creates, c)
	}
	return nil
}

func (l *lab) createAt(ctx context.Context, rate float64) (creating, error) {
	before, err := l.manager.Scrape(ctx)
	if err != nil {
		return creating{}, err
	}
	mark, err := l.Audit.Now()
	if err != nil {
		return creating{}, err
	}
	busy := cpuSeconds(l.manager.PID())
	var mu sync.Mutex
	var times benchpage.Samples
	missed := 0
	var refused atomic.Int64
	go l.profile(ctx, fmt.Sprintf("webhook-%.0f-cpu", rate), "profile", int(l.opts.creating.Seconds()))
	begin := time.Now()
	err = pace(ctx, rate, l.opts.creating, func(ctx context.Context, i int) error {
		at := l.place(rand.IntN(l.Policies))
		made := pod(at.namespace, fmt.Sprintf("%s-w%.0f-%d", at.name, rate, i), at.name)
		sent := time.Now()
		if err := l.insist(ctx, made, &refused); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		times = append(times, time.Since(sent).Seconds())
		if made.Labels[v1alpha1.LabelInjected] != v1alpha1.InjectedTrue {
			missed++
		}
		return nil
	})
	took := time.Since(begin).Seconds()
	if err != nil {
		return creating{}, err
	}
	busy = cpuSeconds(l.manager.PID()) - busy
	made, err := l.Audit.Since(mark)
	if err != nil {
		return creating{}, err
	}
	after, err := l.manager.Scrape(ctx)
	own := between(before, after, "sfunnel_webhook_duration_seconds")
	return creating{
		Calls: ours(made), Asked: rate, Reached: float64(len(times)) / took, Created: len(times), Missed: missed, Refused: int(refused.Load()),
		OwnP50: 1000 * own.quantile(0.5), OwnP99: 1000 * own.quantile(0.99), OwnIn10: own.within(0.01),
		P50: 1000 * times.Quantile(0.5), P99: 1000 * times.Quantile(0.99), CPU: busy / took,
	}, err
}

// insist creates a pod as a controller does: again when the API server could not ask
// the webhook, which it counts.
func (l *lab) insist(ctx context.Context, made *corev1.Pod, refused *atomic.Int64) error {
	const tries = 5
	var err error
	for range tries {
		attempt := made.DeepCopy()
		if err = l.Create(ctx, attempt); err == nil {
			*made = *attempt
			return nil
		}
		if !apierrors.IsInternalError(err) {
			return err
		}
		refused.Add(1)
	}
	return err
}

// cpuSeconds is what a process has used, 0 when it can't be read.
func cpuSeconds(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	const user, system, hertz = 11, 12, 100
	var ticks float64
	for _, at := range []int{user, system} {
		n, _ := strconv.ParseFloat(fields[at], 64)
		ticks += n
	}
	return ticks / hertz
}
