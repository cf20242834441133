// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/managertest"
)

// patience is how long a size may take, besides the time in which nothing happens.
const patience = 30 * time.Minute

// measure takes all figures of one size, in a cluster of its own.
func measure(ctx context.Context, s size, opts options) (r result, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience+opts.steady)
	defer cancel()
	begin := time.Now()
	l, err := openLab(ctx, s, opts)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l.end()) }()
	r = result{size: s, Machine: describe()}
	for _, step := range []struct {
		name string
		take func(context.Context, *result) error
	}{
		{"populate", func(ctx context.Context, _ *result) error { return l.populate(ctx) }},
		{"cold start", l.coldStart},
		{"attach", l.attachEverywhere},
		{"others", l.otherObjects},
		{"restart", l.warmStart},
		{"steady", l.steadily},
		{"edits", l.edit},
		{"webhook", l.createPods},
		{"writes alone", l.writesAlone},
	} {
		fmt.Fprintf(os.Stderr, "  %5.1f s: %s …\n", time.Since(begin).Seconds(), step.name)
		if err := step.take(ctx, &r); err != nil {
			return r, fmt.Errorf("%s: %w", step.name, l.explain(err))
		}
	}
	r.Took = time.Since(begin)
	return r, nil
}

// coldStart ends when every policy has its ConfigMap, and a status that counts all
// its pods.
func (l *lab) coldStart(ctx context.Context, r *result) error {
	each := int32(l.Pods / l.Policies)
	return l.begin(ctx, &r.Cold, "cold", func() error {
		return l.untilAll(ctx, "programmed", func(p *v1alpha1.FunnelPolicy) bool {
			return p.Status.ObservedGeneration == p.Generation && p.Status.RulesDigest != "" && p.Status.Pods.Matched >= each
		})
	})
}

// begin starts a manager and waits for it to do what there is to do.
func (l *lab) begin(ctx context.Context, b *began, name string, until func() error) (err error) {
	b.phase, err = l.during(func() error {
		begin := time.Now()
		if err := l.run(ctx); err != nil {
			return err
		}
		if err := l.manager.AskedBy(ctx, l); err != nil {
			return err
		}
		if err := l.manager.UntilReady(ctx); err != nil {
			return err
		}
		b.Ready = time.Since(begin).Seconds()
		go func() {
			l.profile(ctx, name+"-cpu", "profile", 5)
			l.profile(ctx, name+"-early-heap", "heap", 0)
		}()
		return until()
	})
	if err != nil {
		return err
	}
	l.profile(ctx, name+"-heap", "heap", 0)
	_, peak, err := l.manager.Memory()
	if err != nil {
		return err
	}
	families, err := l.manager.Scrape(ctx)
	b.Peak = float64(peak) / (1 << 20)
	b.Reconciles = gauge(families, "controller_runtime_reconcile_total", "controller", "funnelpolicy")
	b.CPU = cpuSeconds(l.manager.PID())
	return err
}

// attachEverywhere lets all init containers attach, those of clients once their
// rules are released, and ends when all statuses say so.
func (l *lab) attachEverywhere(ctx context.Context, r *result) (err error) {
	var clients, others []placed
	for _, p := range l.pods {
		if p.shape() == clientShape {
			clients = append(clients, p)
		} else {
			others = append(others, p)
		}
	}
	r.Attach, err = l.during(func() error {
		if err := l.attachAll(ctx, others); err != nil {
			return err
		}
		if err := l.readyAll(ctx); err != nil {
			return err
		}
		if err := l.untilAll(ctx, "released", func(p *v1alpha1.FunnelPolicy) bool {
			return p.Spec.Client == nil || released(p)
		}); err != nil {
			return err
		}
		if err := l.attachAll(ctx, clients); err != nil {
			return err
		}
		return l.untilAll(ctx, "attached", func(p *v1alpha1.FunnelPolicy) bool {
			return p.Status.Pods.Attached == p.Status.Pods.Matched && p.Status.Pods.Matched > 0
		})
	})
	if err != nil {
		return err
	}
	if _, err := l.untilQuiet(ctx); err != nil {
		return err
	}
	l.profile(ctx, "attached-heap", "heap", 0)
	r.Before, err = l.memory(ctx)
	return err
}

func released(p *v1alpha1.FunnelPolicy) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == v1alpha1.ConditionResolvedRefs {
			return c.Status == "True"
		}
	}
	return false
}

// otherObjects counts only what the manager asks about them.
func (l *lab) otherObjects(ctx context.Context, r *result) error {
	mark, err := l.Audit.Now()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := l.others(ctx); err != nil {
		return err
	}
	r.Others.Seconds = time.Since(begin).Seconds()
	made, err := l.Audit.Since(mark)
	about := slices.DeleteFunc(made, func(c managertest.Call) bool { return !strings.HasPrefix(c.Namespace, otherNamespaces) })
	r.Others.Calls = ours(about)
	return err
}

// warmStart ends with the last call that a new manager makes.
func (l *lab) warmStart(ctx context.Context, r *result) error {
	if err := l.manager.Stop(); err != nil {
		return err
	}
	begin := time.Now()
	var last time.Time
	err := l.begin(ctx, &r.Restart, "restart", func() (err error) {
		last, err = l.untilQuiet(ctx)
		return err
	})
	r.Restart.Seconds = last.Sub(begin).Seconds()
	return err
}

// steadily waits, and looks at the memory.
func (l *lab) steadily(ctx context.Context, r *result) (err error) {
	r.Steady, err = l.during(func() error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(l.opts.steady):
			return nil
		}
	})
	if err != nil {
		return err
	}
	l.profile(ctx, "steady-heap", "heap", 0)
	r.Memory, err = l.memory(ctx)
	return err
}
