// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/certs"
	"github.com/sfunnel-io/funnel-operator/internal/managertest"
)

// The install on a real API server, and its manager as two processes with no
// other rights than those of its ServiceAccount.
func TestInstallOnARealServer(t *testing.T) {
	c := start(t)
	one := c.run(t)
	two := c.run(t)
	c.askAt(t, one)
	eventually(t, "one replica is ready", one.Ready)
	eventually(t, "the other is ready", two.Ready)

	t.Run("its pods comply with PodSecurity restricted, which is enforced", func(t *testing.T) { podSecurity(t, c) })
	t.Run("it injects pods and publishes rules", func(t *testing.T) { injection(t, c) })
	t.Run("its token writes no ConfigMaps of others", func(t *testing.T) { othersConfigMaps(t, c) })
	t.Run("metrics are for authorised clients", func(t *testing.T) { metrics(t, c, one) })
	t.Run("applied again, it changes nothing", func(t *testing.T) { again(t, c) })
	t.Run("no error is logged", func(t *testing.T) { quiet(t, one, two) })
	t.Run("a replica that ends hands over at once", func(t *testing.T) { handover(t, c, one, two) })
	t.Run("it asks for nothing that it may not", func(t *testing.T) { permitted(t, one, two) })
	one.stop(t)
	two.stop(t)
	t.Run("its certificate may come from a directory", func(t *testing.T) { certificateFromDirectory(t, c) })
	t.Run("a hardened pod's counters can be read", func(t *testing.T) { hardenedCounters(t, c) })
}

// quiet fails for every error in the logs, but that of creating a lease that the
// other replica created at the same moment.
func quiet(t *testing.T, managers ...*manager) {
	for _, m := range managers {
		for line := range strings.Lines(m.Log()) {
			if strings.Contains(line, `"level":"ERROR"`) && !strings.Contains(line, "Error initially creating lease lock") {
				t.Errorf("the manager logged: %s", line)
			}
		}
	}
}

// othersConfigMaps does with the manager's rights what its code never does.
func othersConfigMaps(t *testing.T, c *cluster) {
	config := rest.CopyConfig(c.config)
	config.Impersonate.UserName = "system:serviceaccount:" + own + ":sfunnel-manager"
	token, err := client.New(config, client.Options{})
	must(t, err)
	labelled := map[string]string{v1alpha1.LabelPolicy: "web"}
	others := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "coredns"}, Data: map[string]string{"Corefile": "."}}
	must(t, c.Create(t.Context(), others))

	const denied = "touches no ConfigMap that lacks the label"
	eventually(t, "the limit holds", func(ctx context.Context) error {
		err := token.Patch(ctx, others.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"data":{"Corefile":"mine"}}`)))
		if err == nil || !strings.Contains(err.Error(), denied) {
			return fmt.Errorf("it may: %w", err)
		}
		return nil
	})
	label := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"`+v1alpha1.LabelPolicy+`":"web"}}}`))
	if err := token.Patch(t.Context(), others.DeepCopy(), label); err == nil || !strings.Contains(err.Error(), denied) {
		t.Errorf("it takes one over: %v", err)
	}
	if err := token.Delete(t.Context(), others); err == nil || !strings.Contains(err.Error(), denied) {
		t.Errorf("it deletes one: %v", err)
	}
	plain := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "plain"}}
	if err := token.Create(t.Context(), plain.DeepCopy()); err == nil || !strings.Contains(err.Error(), "writes no ConfigMap without the label") {
		t.Errorf("it makes one without the label: %v", err)
	}
	plain.Labels = labelled
	must(t, token.Create(t.Context(), plain))
	must(t, token.Delete(t.Context(), plain))
	must(t, c.Delete(t.Context(), others))
}

func permitted(t *testing.T, managers ...*manager) {
	for _, m := range managers {
		for line := range strings.Lines(m.Log()) {
			if strings.Contains(line, "forbidden") {
				t.Errorf("the manager logged: %s", line)
			}
		}
	}
}

// again is what "make deploy" does a second time: the certificate that the API
// server trusts, for one, is not taken away.
func again(t *testing.T, c *cluster) {
	for i := range c.install {
		object := c.install[i].DeepCopy()
		if object.GetKind() == "Service" && object.GetName() == "sfunnel-webhook" {
			continue // leads to this machine
		}
		must(t, c.Get(t.Context(), client.ObjectKeyFromObject(object), object))
		before := object.GetResourceVersion()
		c.apply(t, &c.install[i])
		must(t, c.Get(t.Context(), client.ObjectKeyFromObject(object), object))
		if object.GetResourceVersion() != before {
			t.Errorf("%s %s was changed", object.GetKind(), object.GetName())
		}
	}
}

// certificateFromDirectory has somebody else renew the certificate (cert-manager, for
// instance), where replicas ended that made their own.
func certificateFromDirectory(t *testing.T, c *cluster) {
	kept := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: own, Name: "sfunnel-webhook-certificate"}}
	must(t, c.Delete(t.Context(), kept))
	state, _, err := certs.Step(certs.State{}, nil, []string{"sfunnel-webhook." + own + ".svc"}, time.Now())
	must(t, err)
	dir := t.TempDir()
	for _, file := range []string{"tls.crt", "tls.key"} {
		must(t, os.WriteFile(filepath.Join(dir, file), state.Data()[file], 0o600))
	}
	configuration := c.install.object(t, "MutatingWebhookConfiguration", "sfunnel")
	patch := fmt.Sprintf(`[{"op":"add","path":"/webhooks/0/clientConfig/caBundle","value":%q}]`, base64.StdEncoding.EncodeToString(state.Trusted()))
	must(t, c.Patch(t.Context(), configuration, client.RawPatch(types.JSONPatchType, []byte(patch))))

	m := c.run(t, "--webhook-cert-dir="+dir)
	c.askAt(t, m)
	eventually(t, "it is ready", m.Ready)
	namespace, _ := c.shop(t)
	pod := webPod(namespace)
	eventually(t, "the webhook is asked", func(ctx context.Context) error { return c.Create(ctx, pod) })
	if len(pod.Spec.InitContainers) != 1 {
		t.Errorf("init containers: %+v", pod.Spec.InitContainers)
	}
	c.isGone(t, kept) // the manager makes none of its own
	quiet(t, m)
}

func podSecurity(t *testing.T, c *cluster) {
	var deployment appsv1.Deployment
	c.install.into(t, "Deployment", "sfunnel-manager", &deployment)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: own, Name: "manager", Labels: deployment.Spec.Template.Labels},
		Spec:       deployment.Spec.Template.Spec,
	}
	must(t, c.Create(t.Context(), pod.DeepCopy(), client.DryRunAll))
	pod.Spec.Containers[0].SecurityContext.Capabilities = nil
	if err := c.Create(t.Context(), pod, client.DryRunAll); !apierrors.IsForbidden(err) {
		t.Errorf("a pod that does not comply: %v", err)
	}
}

func injection(t *testing.T, c *cluster) {
	namespace, policy := c.shop(t)
	eventually(t, "the policy is ready", func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(policy), policy); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(policy.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("conditions: %+v", policy.Status.Conditions)
		}
		return nil
	})
	var rules corev1.ConfigMap
	must(t, c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "web-funnel"}, &rules))

	pod := webPod(namespace)
	must(t, c.Create(t.Context(), pod))
	if len(pod.Spec.InitContainers) != 1 || pod.Spec.InitContainers[0].Image != attacherImage {
		t.Fatalf("init containers: %+v", pod.Spec.InitContainers)
	}
	for _, file := range pod.Spec.Volumes[0].Projected.Sources[0].ConfigMap.Items {
		if _, published := rules.Data[file.Key]; !published {
			t.Errorf("the pod mounts %s, and the ConfigMap holds %v", file.Key, rules.Data)
		}
	}
	eventually(t, "the status counts the pod", func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(policy), policy); err != nil {
			return err
		}
		if pods := policy.Status.Pods; pods.Matched != 1 || pods.Pending != 1 {
			return fmt.Errorf("pods: %+v", pods)
		}
		return nil
	})
}

// shop is a new opted-in namespace with a policy that selects the web pods, and
// pods that require it.
func (c *cluster) shop(t *testing.T) (string, *v1alpha1.FunnelPolicy) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "shop-",
		Labels:       map[string]string{v1alpha1.LabelInjection: v1alpha1.InjectionEnabled},
	}}
	must(t, c.Create(t.Context(), namespace))
	policy := &v1alpha1.FunnelPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "web"},
		Spec: v1alpha1.FunnelPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Rules:       v1alpha1.Rules{Text: &v1alpha1.RulesText{Ingress: "tcp dport 179 sport 540 unfunnel udp dport 2055"}},
		},
	}
	must(t, c.Create(t.Context(), policy))
	return namespace.Name, policy
}

func webPod(namespace string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:    namespace,
			GenerateName: "web-",
			Labels:       map[string]string{"app": "web", v1alpha1.LabelInject: v1alpha1.InjectRequired},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
	}
}

// token is one of the manager's ServiceAccount.
func token(t *testing.T, c *cluster) string {
	t.Helper()
	token, err := managertest.Token(t.Context(), c.config)
	must(t, err)
	return token
}

func metrics(t *testing.T, c *cluster, m *manager) {
	token := token(t, c)
	for name, header := range map[string]string{"without a token": "", "with another's": "Bearer nonsense"} {
		if code, _ := m.scrape(t, header); code != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, code)
		}
	}
	if code, _ := m.scrape(t, "Bearer "+token); code != http.StatusForbidden {
		t.Errorf("with a token that may not: %d", code)
	}
	must(t, c.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "scrape"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "sfunnel-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: own, Name: "sfunnel-manager"}},
	}))
	eventually(t, "a permitted client reads metrics", func(context.Context) error {
		code, body := m.scrape(t, "Bearer "+token)
		if code != http.StatusOK || !strings.Contains(body, "controller_runtime_webhook_requests_total") {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
}

// handover ends the leader and asks the other for everything.
func handover(t *testing.T, c *cluster, one, two *manager) {
	ending, staying := one, two
	if two.reconciles() {
		ending, staying = two, one
	}
	before := c.leader(t)
	c.askAt(t, staying)
	ending.stop(t)
	eventually(t, "the other replica leads", func(context.Context) error {
		if now := c.leader(t); now == before || now == "" {
			return fmt.Errorf("the leader is %q", now)
		}
		return nil
	})
	namespace, policy := c.shop(t)
	must(t, c.Create(t.Context(), webPod(namespace)))
	eventually(t, "the new leader publishes", func(ctx context.Context) error {
		return c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: policy.Name + "-funnel"}, &corev1.ConfigMap{})
	})
}

func (c *cluster) leader(t *testing.T) string {
	t.Helper()
	var lease coordinationv1.Lease
	must(t, c.Get(t.Context(), client.ObjectKey{Namespace: own, Name: "sfunnel-manager"}, &lease))
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// reconciles says whether the replica leads, or led.
func (m *manager) reconciles() bool {
	return strings.Contains(m.Log(), `"controller":"funnelpolicy"`)
}

// scrape reads the metrics over TLS.
func (m *manager) scrape(t *testing.T, authorization string) (int, string) {
	t.Helper()
	response, err := m.Metrics(t.Context(), authorization)
	must(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	if response.TLS.Version != tls.VersionTLS13 {
		t.Errorf("TLS version %x", response.TLS.Version)
	}
	return response.StatusCode, string(body)
}
