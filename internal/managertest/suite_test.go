// SPDX-License-Identifier: Apache-2.0

package managertest

import (
	"context"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

func TestManager(t *testing.T) {
	c := mustStart(t)
	m := c.mustRun(t, nil, "--keep-deleted-rules=1s")
	t.Run("alerts and the dashboard use what it exports", func(t *testing.T) { monitoring(t, c, m) })
	t.Run("it uses every permission that it has", func(t *testing.T) { permissions(t, c, m) })
}

// mustStart is a cluster for the rest of the test.
func mustStart(t *testing.T) *Cluster {
	t.Helper()
	ctrl.SetLogger(logr.Discard()) // our own clients' messages
	c, err := Start(t.Context())
	must(t, err)
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// mustRun is a replica that is ready, asked about pods, and lives until the test's end at most.
func (c *Cluster) mustRun(t *testing.T, extra map[string]string, args ...string) *Manager {
	t.Helper()
	m, err := c.RunWith(t.Context(), extra, args...)
	must(t, err)
	t.Cleanup(func() {
		m.Kill()
		if t.Failed() {
			t.Log(m.Log())
		}
	})
	must(t, m.AskedBy(t.Context(), c))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, m.UntilReady(ctx))
	return m
}

// mustShop is a new opted-in namespace with a policy that selects the web pods.
func (c *Cluster) mustShop(t *testing.T) *v1alpha1.FunnelPolicy {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "shop-",
		Labels:       map[string]string{v1alpha1.LabelInjection: v1alpha1.InjectionEnabled, "pod-security.kubernetes.io/enforce": "privileged"},
	}}
	must(t, c.Create(t.Context(), namespace))
	policy := &v1alpha1.FunnelPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "web"},
		Spec: v1alpha1.FunnelPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Rules:       v1alpha1.Rules{Text: &v1alpha1.RulesText{Ingress: "tcp dport 1179 pushed unfunnel udp dport 2055"}},
		},
	}
	must(t, c.Create(t.Context(), policy))
	return policy
}

// mustEdit changes the policy's rules and waits until its ConfigMap follows.
func (c *Cluster) mustEdit(t *testing.T, policy *v1alpha1.FunnelPolicy, ingress string) {
	t.Helper()
	before := policy.DeepCopy()
	policy.Spec.Rules.Text.Ingress = ingress
	must(t, c.Patch(t.Context(), policy, client.MergeFrom(before)))
	c.eventually(t, "the status is the edit's", func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(policy), policy)
		return policy.Status.ObservedGeneration == policy.Generation && policy.Status.RulesDigest != before.Status.RulesDigest, err
	})
}

// eventually asks until the answer is yes, for a minute at most.
func (c *Cluster) eventually(t *testing.T, what string, ask func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		yes, err := ask(ctx)
		if yes && err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within a minute: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
