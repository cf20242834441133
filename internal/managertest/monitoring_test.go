// SPDX-License-Identifier: Apache-2.0

package managertest

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metricsql"
	dto "github.com/prometheus/client_model/go"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/sfunnel-io/funnel-operator/internal/checkout"
)

// monitoring fails where alerts or the dashboard ask for metrics or labels that the
// manager does not export. The documentation names each metric of ours and has a runbook for each alert.
func monitoring(t *testing.T, c *Cluster, m *Manager) {
	policy := c.mustShop(t)
	c.eventually(t, "a pod can be created", func(ctx context.Context) (bool, error) { // the API server may not know yet where the webhook is
		return c.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: policy.Namespace, Name: "web", Labels: map[string]string{"app": "web"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
		}) == nil, nil
	})
	c.mustEdit(t, policy, "tcp dport 1179 pushed unfunnel udp dport 2056")
	exported, err := m.Scrape(t.Context())
	must(t, err)
	exported[rejections] = c.mustCountRejections(t)

	operations := mustRead(t, "docs", "operations.md")
	for name := range exported {
		if strings.HasPrefix(name, "sfunnel_") && !strings.Contains(operations, "`"+name+"`") {
			t.Errorf("docs/operations.md does not mention %s", name)
		}
	}
	for _, alert := range mustAlerts(t) {
		checkQuery(t, "alert "+alert.Alert, alert.Expr, exported)
		_, anchor, _ := strings.Cut(alert.Annotations["runbook_url"], "docs/operations.md#")
		if anchor != strings.ToLower(alert.Alert) || !strings.Contains(operations, "\n### "+alert.Alert+"\n") {
			t.Errorf("alert %s has no runbook: %s", alert.Alert, alert.Annotations["runbook_url"])
		}
	}
	for _, panel := range mustPanels(t) {
		for _, target := range panel.Targets {
			where, expr := "panel "+panel.Title, strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")
			checkQuery(t, where, expr, exported)
			checkLegend(t, where, expr, target.LegendFormat, exported)
		}
	}
	checkHonoured(t, exported)
}

// rejections is the API server's own metric of webhooks that it can't ask.
const rejections = "apiserver_admission_webhook_rejection_count"

// mustCountRejections makes the API server ask a webhook that nobody serves, and returns
// what it counts.
func (c *Cluster) mustCountRejections(t *testing.T) *dto.MetricFamily {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "unreachable-"}}
	must(t, c.Create(t.Context(), namespace))
	unreachable := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: namespace.Name},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:                    "pods.sfunnel.io",
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1/")},
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace.Name}},
			AdmissionReviewVersions: []string{"v1"},
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}
	must(t, c.Create(t.Context(), unreachable))
	defer func() { must(t, c.Delete(context.WithoutCancel(t.Context()), unreachable)) }()
	c.eventually(t, "a webhook is not reached", func(ctx context.Context) (bool, error) {
		made := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, GenerateName: "x-"}}
		return c.Create(ctx, made) != nil, nil
	})
	server, err := rest.HTTPClientFor(c.Server.Config)
	must(t, err)
	response, err := get(t.Context(), server, strings.TrimSuffix(c.Server.Config.Host, "/")+"/metrics", "")
	must(t, err)
	all, err := families(response)
	must(t, err)
	counted := all[rejections]
	if !strings.Contains(counted.String(), `value:"calling_webhook_error"`) {
		t.Errorf("the API server does not count what it can't ask: %v", counted)
	}
	return counted
}

// checkHonoured fails where a metric has a label that the Prometheus operator gives
// its target, and the ServiceMonitor does not let the metric keep it: alerts would name
// the operator's namespace in the place of the pods'.
func checkHonoured(t *testing.T, exported map[string]*dto.MetricFamily) {
	t.Helper()
	var monitor struct {
		Spec struct{ Endpoints []struct{ HonorLabels bool } }
	}
	must(t, yaml.Unmarshal([]byte(mustRead(t, "config", "components", "monitoring", "service_monitor.yaml")), &monitor))
	for name := range exported {
		for _, label := range targetLabels {
			if labelsOf(name, exported)[label] && !monitor.Spec.Endpoints[0].HonorLabels {
				t.Errorf("%s has a label %s, and the ServiceMonitor lacks honorLabels", name, label)
			}
		}
	}
}

// targetLabels are those that the Prometheus operator gives what it scrapes.
var targetLabels = []string{"job", "instance", "namespace", "pod", "service", "endpoint", "container"}

type alert struct {
	Alert, Expr   string
	For           string
	KeepFiringFor string `json:"keep_firing_for"`
	Annotations   map[string]string
}

// longestRetry is the longest time between two tries of a controller, ours or one of
// Kubernetes' own.
const longestRetry = 1000 * time.Second

// Alerts that anything is counted within a window fire once for a failure that goes on, until
// it is over, and never for a single one.
func TestAlertsOutlastRetries(t *testing.T) {
	windows := 0
	for _, alert := range mustAlerts(t) {
		window := windowOfAny(mustParse(t, alert.Alert, alert.Expr))
		if window == 0 {
			continue
		}
		windows++
		if last := max(window, mustDuration(t, alert.KeepFiringFor)); last <= longestRetry {
			t.Errorf("alert %s is resolved %v after a failure, and the next try may be %v after it", alert.Alert, last, longestRetry)
		}
		if pending := mustDuration(t, alert.For); pending <= window {
			t.Errorf("alert %s fires after %v, and a single failure is seen for %v", alert.Alert, pending, window)
		}
	}
	if windows == 0 {
		t.Error("no alert is about failures within a window")
	}
}

// windowOfAny is the window of an expression that asks whether anything was counted within
// one, 0 for others.
func windowOfAny(e metricsql.Expr) time.Duration {
	compared, ok := e.(*metricsql.BinaryOpExpr)
	if !ok || compared.Op != ">" {
		return 0
	}
	if than, ok := compared.Right.(*metricsql.NumberExpr); !ok || than.N != 0 {
		return 0
	}
	window := time.Duration(0)
	metricsql.VisitAll(compared.Left, func(e metricsql.Expr) {
		if rollup, ok := e.(*metricsql.RollupExpr); ok && rollup.Window != nil {
			window = time.Duration(rollup.Window.Duration(0)) * time.Millisecond
		}
	})
	return window
}

// mustDuration reads how long an alert waits or stays; 0 where that is left out.
func mustDuration(t *testing.T, text string) time.Duration {
	t.Helper()
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	must(t, err)
	return d
}

func mustAlerts(t *testing.T) []alert {
	t.Helper()
	var rule struct {
		Spec struct{ Groups []struct{ Rules []alert } }
	}
	must(t, yaml.Unmarshal([]byte(mustRead(t, "config", "components", "monitoring", "prometheus_rule.yaml")), &rule))
	if len(rule.Spec.Groups) == 0 || len(rule.Spec.Groups[0].Rules) == 0 {
		t.Fatal("there are no alerts")
	}
	return rule.Spec.Groups[0].Rules
}

func mustRead(t *testing.T, path ...string) string {
	t.Helper()
	root, err := checkout.Root()
	must(t, err)
	text, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	must(t, err)
	return string(text)
}

// checkQuery fails for each metric of the query that is not exported, and each label that
// the metric does not have. up, and the target's labels, are Prometheus' own.
func checkQuery(t *testing.T, where, query string, exported map[string]*dto.MetricFamily) {
	t.Helper()
	metricsql.VisitAll(mustParse(t, where, query), func(e metricsql.Expr) {
		switch e := e.(type) {
		case *metricsql.MetricExpr:
			checkSelector(t, where, e, exported)
		case *metricsql.AggrFuncExpr:
			known := resultLabels(e.Args[0], exported)
			for _, label := range e.Modifier.Args {
				if !known[label] {
					t.Errorf("%s: nothing below has the label %s of %s", where, label, e.AppendString(nil))
				}
			}
		}
	})
}

func mustParse(t *testing.T, where, query string) metricsql.Expr {
	t.Helper()
	expression, err := metricsql.Parse(query)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	return expression
}

func checkSelector(t *testing.T, where string, selector *metricsql.MetricExpr, exported map[string]*dto.MetricFamily) {
	t.Helper()
	for _, filters := range selector.LabelFilterss {
		family := nameIn(filters)
		known := labelsOf(family, exported)
		if known == nil && family != "up" {
			t.Errorf("%s: %s is not exported", where, family)
		}
		for _, f := range filters {
			if f.Label != "__name__" && f.Label != "job" && !known[f.Label] {
				t.Errorf("%s: %s has no label %s", where, family, f.Label)
			}
		}
	}
}

// resultLabels are those that series of the expression can have.
func resultLabels(e metricsql.Expr, exported map[string]*dto.MetricFamily) map[string]bool {
	names := map[string]bool{}
	switch e := e.(type) {
	case *metricsql.AggrFuncExpr:
		for _, label := range e.Modifier.Args {
			names[label] = true
		}
	case *metricsql.MetricExpr:
		for _, filters := range e.LabelFilterss {
			maps.Copy(names, labelsOf(nameIn(filters), exported))
		}
		for _, label := range append(targetLabels, "le") { // of Prometheus, and of histograms
			names[label] = true
		}
	case *metricsql.RollupExpr:
		return resultLabels(e.Expr, exported)
	case *metricsql.FuncExpr:
		for _, arg := range e.Args {
			maps.Copy(names, resultLabels(arg, exported))
		}
	case *metricsql.BinaryOpExpr:
		maps.Copy(names, resultLabels(e.Left, exported))
		maps.Copy(names, resultLabels(e.Right, exported))
	}
	return names
}

func nameIn(filters []metricsql.LabelFilter) string {
	for _, f := range filters {
		if f.Label == "__name__" {
			return f.Value
		}
	}
	return ""
}

// labelsOf are those of a metric, nil when it is not exported.
func labelsOf(name string, exported map[string]*dto.MetricFamily) map[string]bool {
	family := exported[name]
	if family == nil {
		family = exported[strings.TrimSuffix(name, "_bucket")]
	}
	if family == nil {
		return nil
	}
	names := map[string]bool{}
	for _, m := range family.GetMetric() {
		for _, label := range m.GetLabel() {
			names[label.GetName()] = true
		}
	}
	return names
}
