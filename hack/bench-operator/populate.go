// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
	"github.com/sfunnel-io/funnel-operator/internal/managertest"
)

// writers is how many requests of ours are under way at a time.
const writers = 24

// each does it for 0 to n-1, many at a time.
func each(ctx context.Context, n int, do func(context.Context, int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// populate makes policies, Services and pods as they are when every workload has
// just been deployed: the pods are injected and wait for their rules.
func (l *lab) populate(ctx context.Context) error {
	if err := each(ctx, l.namespaces(), func(ctx context.Context, i int) error { return l.namespace(ctx, namespaceOf(i)) }); err != nil {
		return err
	}
	if err := each(ctx, l.Policies, func(ctx context.Context, i int) error { return l.makePolicy(ctx, l.place(i)) }); err != nil {
		return err
	}
	for i := range l.Pods {
		l.pods = append(l.pods, placed{l.place(i % l.Policies), l.podName(i)})
	}
	if err := each(ctx, len(l.pods), func(ctx context.Context, i int) error { return l.makeInjected(ctx, l.pods[i]) }); err != nil {
		return err
	}
	return each(ctx, l.namespaces(), func(ctx context.Context, i int) error { return l.optIn(ctx, namespaceOf(i)) })
}

// makePolicy makes one, and what stands in front of a backend.
func (l *lab) makePolicy(ctx context.Context, at place) error {
	if at.backend() {
		if err := l.Create(ctx, at.service()); err != nil {
			return err
		}
		if err := l.Create(ctx, at.endpoints(l.podsOf(at.i), false)); err != nil {
			return err
		}
	}
	return l.Create(ctx, at.policy())
}

// makeInjected makes a pod as the webhook would.
func (l *lab) makeInjected(ctx context.Context, p placed) error {
	made := pod(p.namespace, p.pod, p.name)
	if err := inject.Pod(made, []string{p.name}, inject.Options{Image: managertest.AttacherImage}); err != nil {
		return err
	}
	return l.Create(ctx, made)
}

func (l *lab) optIn(ctx context.Context, name string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	before := namespace.DeepCopy()
	namespace.Labels = map[string]string{v1alpha1.LabelInjection: v1alpha1.InjectionEnabled, "pod-security.kubernetes.io/enforce": "privileged"}
	return l.Patch(ctx, namespace, client.MergeFrom(before))
}

// otherNamespaces begins the names of those without policies.
const otherNamespaces = "other-"

// others makes what concerns nobody, and gives the manager time to notice.
func (l *lab) others(ctx context.Context) error {
	const namespaces = 20
	other := func(i int) string { return fmt.Sprint(otherNamespaces, i%namespaces) }
	if err := each(ctx, namespaces, func(ctx context.Context, i int) error { return l.namespace(ctx, other(i)) }); err != nil {
		return err
	}
	if err := each(ctx, l.OtherPods, func(ctx context.Context, i int) error {
		return l.Create(ctx, pod(other(i), fmt.Sprintf("pod-%d", i), "other"))
	}); err != nil {
		return err
	}
	if err := each(ctx, l.OtherConfigMaps, func(ctx context.Context, i int) error {
		return l.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: other(i), Name: fmt.Sprintf("config-%d", i)},
			Data:       map[string]string{"config": strings.Repeat("key: a value\n", 400)},
		})
	}); err != nil {
		return err
	}
	time.Sleep(l.opts.settle)
	return nil
}
