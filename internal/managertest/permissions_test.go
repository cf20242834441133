// SPDX-License-Identifier: Apache-2.0

package managertest

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// permissions has the manager do everything that it does, with the rights of the
// install; what it was granted must be what the API server's audit log shows. A verb
// too many fails here, and one too few fails what needs it.
func permissions(t *testing.T, c *Cluster, m *Manager) {
	policy := c.mustShop(t)
	c.mustEdit(t, policy, "tcp dport 1179 pushed unfunnel udp dport 2056")
	c.mustEdit(t, policy, "tcp dport 1179 pushed unfunnel udp dport 2057")
	c.mustRenew(t)
	_, err := m.Scrape(t.Context())
	must(t, err)
	must(t, c.Delete(t.Context(), policy))
	c.eventually(t, "the rules of the deleted policy are gone", func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, client.ObjectKey{Namespace: policy.Namespace, Name: v1alpha1.ConfigMapName(policy.Name)}, &corev1.ConfigMap{})
		return client.IgnoreNotFound(err) == nil && err != nil, client.IgnoreNotFound(err)
	})
	must(t, m.Stop())
	// A server that does not stream lists is asked for them.
	c.mustRun(t, map[string]string{"KUBE_FEATURE_WatchListClient": "false"})

	c.eventually(t, "every permission is used", func(context.Context) (bool, error) {
		calls, err := c.Audit.Since(0)
		diff := cmp.Diff(c.granted(t), used(calls))
		if diff == "" || err != nil {
			return err == nil, err
		}
		return false, fmt.Errorf("granted (-) and used (+):\n%s", diff)
	})
}

// mustRenew spoils the webhook's certificate and waits for another.
func (c *Cluster) mustRenew(t *testing.T) {
	t.Helper()
	secret := &corev1.Secret{}
	must(t, c.Get(t.Context(), client.ObjectKey{Namespace: Namespace, Name: "sfunnel-webhook-certificate"}, secret))
	before := secret.DeepCopy()
	secret.Data["tls.crt"] = []byte("spoiled")
	must(t, c.Patch(t.Context(), secret, client.MergeFrom(before)))
	c.eventually(t, "there is another certificate", func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(secret), secret)
		return string(secret.Data["tls.crt"]) != "spoiled", err
	})
}

// granted is what the install's roles of the manager permit.
func (c *Cluster) granted(t *testing.T) []string {
	t.Helper()
	var cluster rbacv1.ClusterRole
	var own rbacv1.Role
	must(t, c.Installed("ClusterRole", "sfunnel-manager", &cluster))
	must(t, c.Installed("Role", "sfunnel-manager", &own))
	all := map[string]bool{}
	for _, rule := range append(cluster.Rules, own.Rules...) {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					all[verb+" "+strings.TrimPrefix(group+"/"+resource, "/")] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// used is what calls needed that succeeded. A server-side apply that made the object
// needs create, too.
func used(calls []Call) []string {
	all := map[string]bool{}
	for _, call := range calls {
		if call.Code >= http.StatusBadRequest && call.Code != http.StatusNotFound && call.Code != http.StatusConflict {
			continue
		}
		all[call.What()] = true
		if call.Verb == "patch" && call.Code == http.StatusCreated {
			call.Verb = "create"
			all[call.What()] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
