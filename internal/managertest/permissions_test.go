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
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/report"
)

// permissions has the manager do everything that it does, with the rights of the
// install; what it was granted must be what the API server's audit log shows. A verb
// too many fails here, and one too few fails what needs it.
func permissions(t *testing.T, c *Cluster, m *Manager) {
	policy := c.mustShop(t)
	c.mustEdit(t, policy, "tcp dport 1179 pushed unfunnel udp dport 2056")
	c.mustEdit(t, policy, "tcp dport 1179 pushed unfunnel udp dport 2057")
	c.mustMeetAForeignConfigMap(t, policy)
	c.mustRefresh(t, policy)
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

// mustMeetAForeignConfigMap makes another policy beside this one, for whose rules there is
// no place: the manager looks at what is there.
func (c *Cluster) mustMeetAForeignConfigMap(t *testing.T, beside *v1alpha1.FunnelPolicy) {
	t.Helper()
	must(t, c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: beside.Namespace, Name: v1alpha1.ConfigMapName("other")}}))
	other := &v1alpha1.FunnelPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: beside.Namespace, Name: "other"}, Spec: *beside.Spec.DeepCopy()}
	other.Spec.PodSelector.MatchLabels = map[string]string{"app": "other"}
	must(t, c.Create(t.Context(), other))
	c.eventually(t, "the policy says that it has no place", func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(other), other)
		programmed := meta.FindStatusCondition(other.Status.Conditions, v1alpha1.ConditionProgrammed)
		return programmed != nil && programmed.Reason == v1alpha1.ReasonConfigMapNotOwned, err
	})
}

// mustRefresh grants what the component in-place adds to the install, and waits until a
// pod with older rules is brought the policy's.
func (c *Cluster) mustRefresh(t *testing.T, policy *v1alpha1.FunnelPolicy) {
	t.Helper()
	must(t, c.Install(t.Context(), "config", "components", "in-place", "role.yaml"))
	before := policy.DeepCopy()
	policy.Spec.UpdateStrategy = v1alpha1.UpdateInPlace
	must(t, c.Patch(t.Context(), policy, client.MergeFrom(before)))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: policy.Namespace, Name: "older", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	must(t, c.Create(t.Context(), pod))
	told := report.Report{Result: report.Attached, Digests: map[string]string{policy.Name: "older"}, Kernel: "6.12.0"}.Marshal(0)
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, InitContainerStatuses: []corev1.ContainerStatus{{
		Name:  v1alpha1.InitContainerName,
		State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", Message: string(told)}},
	}}}
	must(t, c.Status().Update(t.Context(), pod))
	c.eventually(t, "the pod is brought the rules", func(ctx context.Context) (bool, error) {
		err := c.Get(ctx, client.ObjectKeyFromObject(pod), pod)
		return len(pod.Spec.EphemeralContainers) > 0, err
	})
	must(t, c.Delete(t.Context(), pod, client.GracePeriodSeconds(0))) // its rules stay while it mounts them
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

// granted is what the install's roles of the manager permit, and the component's.
func (c *Cluster) granted(t *testing.T) []string {
	t.Helper()
	var cluster, inPlace rbacv1.ClusterRole
	var own rbacv1.Role
	must(t, c.Installed("ClusterRole", "sfunnel-manager", &cluster))
	must(t, c.Installed("ClusterRole", "sfunnel-manager-in-place", &inPlace))
	must(t, c.Installed("Role", "sfunnel-manager", &own))
	all := map[string]bool{}
	for _, rule := range slices.Concat(cluster.Rules, inPlace.Rules, own.Rules) {
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
