// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/managertest"
)

// world is a cluster with policies and pods, a manager, and chance.
type world struct {
	*managertest.Cluster
	manager *managertest.Manager
	places  []*place

	mu     sync.Mutex
	chance *rand.Rand

	rolled, edited, remade atomic.Int64
}

// place is a policy and the pods that it selects.
type place struct {
	namespace, name string
	backend         bool
	// client is that of the backend before it.
	client string
	// rules is its text, when it has one, before anybody edits it.
	rules string

	mu   sync.Mutex
	made int // pods so far
}

const (
	namespaces = 2
	podsEach   = 2
)

func mustOpen(t *testing.T, chance *rand.Rand) *world {
	t.Helper()
	ctrl.SetLogger(logr.Discard()) // our own clients' messages
	cluster, err := managertest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Cluster: cluster, chance: chance}
	t.Cleanup(func() {
		if w.manager != nil {
			w.manager.Kill()
		}
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(w.startManager(t.Context()), w.populate(t.Context())); err != nil {
		t.Fatal(err)
	}
	return w
}

// startManager starts one that is asked about pods. It elects no leader: nobody waits 15 s
// here for the lease of one that was killed.
func (w *world) startManager(ctx context.Context) error {
	err := w.insist(ctx, "start the manager", func() error { // its token comes from the API server
		m, err := w.Run(ctx, "--leader-elect=false", "--keep-deleted-rules=2s", "--log-level=warn")
		if err == nil {
			w.manager = m
		}
		return err
	})
	if err != nil {
		return err
	}
	return w.insist(ctx, "lead the webhook to the manager", func() error { return w.manager.AskedBy(ctx, w) })
}

// populate makes, in each namespace, two policies with text, a backend and a client of it.
func (w *world) populate(ctx context.Context) error {
	for n := range namespaces {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("shop-%d", n), Labels: map[string]string{
			v1alpha1.LabelInjection: v1alpha1.InjectionEnabled, "pod-security.kubernetes.io/enforce": "privileged",
		}}}
		if err := w.Create(ctx, namespace); err != nil {
			return err
		}
		for _, p := range []*place{
			{name: "text", rules: text(1000)},
			{name: "more", rules: text(2000)},
			{name: "backend", backend: true},
			{name: "client", client: "backend"},
		} {
			p.namespace = namespace.Name
			w.places = append(w.places, p)
			if p.backend {
				if err := w.Create(ctx, p.service()); err != nil {
					return err
				}
			}
			if err := w.Create(ctx, p.policy()); err != nil {
				return err
			}
		}
	}
	for _, p := range w.places {
		for range podsEach {
			if err := w.newPod(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// text is the rules of a policy that has them as such.
func text(port int) string { return fmt.Sprintf("tcp dport 1179 pushed unfunnel udp dport %d", port) }

func (p *place) key() types.NamespacedName {
	return types.NamespacedName{Namespace: p.namespace, Name: p.name}
}

func (p *place) configMap() types.NamespacedName {
	return types.NamespacedName{Namespace: p.namespace, Name: v1alpha1.ConfigMapName(p.name)}
}

func (p *place) policy() *v1alpha1.FunnelPolicy {
	policy := &v1alpha1.FunnelPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name},
		Spec:       v1alpha1.FunnelPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": p.name}}},
	}
	switch {
	case p.backend:
		policy.Spec.Backend = &v1alpha1.Backend{
			Service: p.name, Through: v1alpha1.ThroughPort{Port: intstr.FromInt32(179)},
			Ports: []v1alpha1.FunneledPort{{Port: 4739, Protocol: v1alpha1.UDP}},
		}
	case p.client != "":
		policy.Spec.Client = &v1alpha1.Client{PolicyRef: v1alpha1.PolicyReference{Name: p.client}}
	default:
		policy.Spec.Rules.Text = &v1alpha1.RulesText{Ingress: p.rules}
	}
	return policy
}

func (p *place) service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": p.name}, SessionAffinity: corev1.ServiceAffinityClientIP,
			Ports: []corev1.ServicePort{{Name: "bgp", Port: 179, TargetPort: intstr.FromInt32(1179)}},
		},
	}
}

// endpoints is the one slice of a backend's Service.
func (p *place) endpoints(pods []corev1.Pod) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name, Labels: map[string]string{
			discoveryv1.LabelServiceName: p.name, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io",
		}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	ready := true
	for i, pod := range pods {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.1.0.%d", i+1)},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Name: pod.Name},
		})
	}
	return slice
}

// insist tries until it works, as every controller does. What it says when there is no
// more time is what went wrong before that.
func (w *world) insist(ctx context.Context, what string, do func() error) error {
	var last error
	for {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, cmp.Or(last, err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (w *world) intN(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.chance.IntN(n)
}

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.intN(int(d))) }

// patience is how long anything may take on any machine.
const patience = 2 * time.Minute
