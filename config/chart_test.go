// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	chart     = "../charts/funnel-operator"
	shopChart = "testdata/shop-chart"
)

// For each way of injection, and with monitoring, the chart holds what
// kustomize builds: but for the namespace, which Helm makes, and a note that keeps
// the definition.
func TestChartIsTheInstall(t *testing.T) {
	for value, folder := range map[string]string{
		"injection=webhook": "default", "injection=admission-policy": "overlays/admission-policy", "injection=none": "overlays/no-webhook",
		"monitoring=true": "overlays/monitoring",
		"inPlace=true":    "overlays/in-place",
	} {
		t.Run(value, func(t *testing.T) {
			got, want := template(t, "--set", value), overlay(t, folder)
			want = slices.DeleteFunc(want, func(o unstructured.Unstructured) bool { return o.GetKind() == "Namespace" })
			if diff := cmp.Diff(want.names(), got.names()); diff != "" {
				t.Fatal(diff)
			}
			for _, object := range want {
				if object.GetKind() == "CustomResourceDefinition" {
					object.SetAnnotations(map[string]string{
						"controller-gen.kubebuilder.io/version": object.GetAnnotations()["controller-gen.kubebuilder.io/version"],
						"helm.sh/resource-policy":               "keep",
					})
				}
				rendered := got.object(t, object.GetKind(), object.GetName())
				withoutEmpty(rendered)
				if diff := cmp.Diff(object.Object, rendered.Object); diff != "" {
					t.Errorf("%s %s:\n%s", object.GetKind(), object.GetName(), diff)
				}
			}
		})
	}
}

// withoutEmpty drops what values leave empty and manifests leave out.
func withoutEmpty(object *unstructured.Unstructured) {
	pod, found, _ := unstructured.NestedMap(object.Object, "spec", "template", "spec")
	if !found {
		return
	}
	for name, value := range pod {
		if slices.Contains([]string{"", "[]", "map[]"}, fmt.Sprint(value)) {
			delete(pod, name)
		}
	}
	_ = unstructured.SetNestedMap(object.Object, pod, "spec", "template", "spec")
}

func TestChartValues(t *testing.T) {
	one := template(t, "--set", "replicas=1", "--set", "namespaceOverride=elsewhere", "--set-json", `resources={"requests":{"cpu":"2"}}`,
		"--set-json", `tolerations=[{"key":"infra","operator":"Exists"}]`, "--set", "imagePullSecrets[0].name=registry", "--set", "priorityClassName=high",
		"--set", "extraArgs={--attacher-memory=64Mi}", "--set-json", `affinity={"nodeAffinity":{}}`)
	if slices.ContainsFunc(one, func(o unstructured.Unstructured) bool { return o.GetKind() == "PodDisruptionBudget" }) {
		t.Error("a single replica can't be evicted")
	}
	for _, object := range one {
		if strings.Contains(asText(t, object.Object), own) {
			t.Errorf("%s %s still names %s", object.GetKind(), object.GetName(), own)
		}
	}
	text := asText(t, one.object(t, "Deployment", "sfunnel-manager").Object)
	for _, want := range []string{"replicas: 1\n", `cpu: "2"`, "key: infra", "image: " + managerImage, "value: " + attacherImage,
		"imagePullSecrets:\n      - name: registry\n", "priorityClassName: high\n", "- --require-attacher-digest\n        - --attacher-memory=64Mi\n", "nodeAffinity: {}\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestChartFitsAnyPrometheus: that of kube-prometheus-stack has another name and picks
// objects by a label.
func TestChartFitsAnyPrometheus(t *testing.T) {
	all := template(t, "--set", "monitoring=true", "--set", "monitoringLabels.release=stack", "--set", "prometheus.namespace=observe", "--set", "prometheus.serviceAccount=stack-prometheus")
	for _, kind := range []string{"ServiceMonitor", "PrometheusRule"} {
		if labels := all.object(t, kind, "sfunnel").GetLabels(); labels["release"] != "stack" || labels["app.kubernetes.io/name"] != "sfunnel" {
			t.Errorf("%s has the labels %v", kind, labels)
		}
	}
	for kind, name := range map[string]string{"ClusterRoleBinding": "sfunnel-metrics-reader", "RoleBinding": "sfunnel-metrics-targets"} {
		text := asText(t, all.object(t, kind, name).Object)
		if want := "name: stack-prometheus\n  namespace: observe\n"; !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestChartRefusesValuesItDoesNotKnow(t *testing.T) {
	for value, want := range map[string]string{
		"injection=sidecar": "/injection", "replica=3": "replica", "replicas=many": "/replicas", "images.attacher=": "/images/attacher", "extraArgs={attacher-memory=1}": "/extraArgs/0",
		"ports.webhooks=1": "webhooks", "ports.metrics=70000": "/ports/metrics", "hostNetwork=node": "/hostNetwork",
	} {
		if out, err := helm(t, "", "template", "x", chart, "--set", value); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", value, err, out)
		}
	}
}

func TestChartKnowsWhatTheServerLacks(t *testing.T) {
	for version, fits := range map[string]bool{"1.35.9": false, "1.36.0": true, "1.36.1-beta.1": true} {
		out, err := helm(t, "", append([]string{"template", "x", chart, "--set", "injection=admission-policy", "--kube-version", version}, images()...)...)
		if (err == nil) != fits || !fits && !strings.Contains(string(out), "needs Kubernetes 1.36 or later, this is v"+version) {
			t.Errorf("%s: %v\n%s", version, err, out)
		}
	}
}

// TestChartRefusesWhatTheManagerWould: a release whose manager ends at once leaves a webhook
// that nobody answers.
func TestChartRefusesWhatTheManagerWould(t *testing.T) {
	const unpinned = "--require-attacher-digest=false"
	for _, row := range []struct {
		attacher, extra string
		taken           bool
	}{
		{attacherImage, "--log-level=info", true},
		{"registry.example/attacher:v1", "--log-level=info", false},
		{"registry.example/attacher", "--log-level=info", false},
		{"registry.example/attacher@sha256:12", "--log-level=info", false},
		{"registry.example/attacher:v1", unpinned, true},
	} {
		out, err := helm(t, "", "template", "x", chart, "--set", "images.attacher="+row.attacher, "--set", "extraArgs={"+row.extra+"}")
		if (err == nil) != row.taken || !row.taken && !strings.Contains(string(out), "images.attacher: "+row.attacher+" is not pinned: want NAME@sha256:") {
			t.Errorf("%+v: %v\n%s", row, err, out)
		}
		if err == nil && !strings.Contains(string(out), "- "+row.extra+"\n") {
			t.Errorf("%+v: the manager is not told", row)
		}
	}
	if out, err := helm(t, "", "template", "x", chart); err == nil {
		t.Errorf("images that no registry has are installed:\n%s", out)
	}
}

// TestChartOnTheNetworkOfNodes: where API servers reach no pods, and on other ports.
func TestChartOnTheNetworkOfNodes(t *testing.T) {
	for injection, ports := range map[string]map[string]int32{
		"webhook":          {"webhook": 10260, "metrics": 8443, "probes": 10262},
		"admission-policy": {"metrics": 8443, "probes": 10262},
		"none":             {"metrics": 8443, "probes": 10262},
	} {
		var d appsv1.Deployment
		template(t, "--set", "injection="+injection, "--set", "hostNetwork=true", "--set", "ports.webhook=10260,ports.probes=10262").into(t, "Deployment", "sfunnel-manager", &d)
		pod := d.Spec.Template.Spec
		if !pod.HostNetwork || pod.DNSPolicy != corev1.DNSClusterFirstWithHostNet {
			t.Errorf("%s: hostNetwork %v, dnsPolicy %s", injection, pod.HostNetwork, pod.DNSPolicy)
		}
		got := map[string]int32{}
		for _, port := range pod.Containers[0].Ports {
			got[port.Name] = port.ContainerPort
		}
		if diff := cmp.Diff(ports, got); diff != "" {
			t.Errorf("%s: %s", injection, diff)
		}
		args := pod.Containers[0].Args
		if slices.Contains(args, "--webhook-port=10260") != (injection == "webhook") || !slices.Contains(args, "--health-probe-bind-address=:10262") {
			t.Errorf("%s: %v", injection, args)
		}
		if out, err := exec.Command(current(t), append(args, "--help")...).CombinedOutput(); err != nil { // which comes after flags that it does not know
			t.Errorf("%s: the manager refuses %v: %v\n%s", injection, args, err, out)
		}
	}
}

// TestChartNotesPermitInjection: a namespace whose pods are injected must permit the
// capabilities of their init container, whatever the cluster's default.
func TestChartNotesPermitInjection(t *testing.T) {
	const optIn, permit = "sfunnel.io/injection=enabled ", "pod-security.kubernetes.io/enforce=privileged"
	for injection, labels := range map[string]string{"webhook": optIn + permit, "admission-policy": optIn + permit, "none": permit} {
		notes := mustHelm(t, "", append([]string{"install", "sfunnel", chart, "--dry-run=client", "--set", "injection=" + injection}, images()...)...)
		if _, notes, _ = strings.Cut(notes, "\nNOTES:\n"); !strings.Contains(notes, "\n  kubectl label namespace NAMESPACE "+labels+"\n") {
			t.Errorf("%s: the notes don't set the labels %s:\n%s", injection, labels, notes)
		}
	}
}

func TestChartHasNoFaults(t *testing.T) {
	if out, err := helm(t, "", "lint", "--strict", "--quiet", chart); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// template is what the chart renders to, with images by digest.
func template(t *testing.T, args ...string) objects {
	t.Helper()
	all := append([]string{"template", "sfunnel", chart, "--namespace", own}, append(images(), args...)...)
	out, err := helm(t, "", all...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return parse(t, out)
}

func images() []string {
	return []string{"--set", "images.manager=" + managerImage, "--set", "images.attacher=" + attacherImage}
}

// helm runs Helm with a home of its own. It returns what went to stdout, and after
// a failure what went to stderr.
func helm(t *testing.T, kubeconfig string, args ...string) ([]byte, error) {
	t.Helper()
	path, err := helmPath()
	if err != nil {
		t.Fatalf("build helm: %v", err)
	}
	home := t.TempDir()
	command := exec.Command(path, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return append(stderr.Bytes(), stdout.Bytes()...), err
	}
	return stdout.Bytes(), nil
}

func mustHelm(t *testing.T, kubeconfig string, args ...string) string {
	t.Helper()
	out, err := helm(t, kubeconfig, args...)
	if err != nil {
		t.Fatalf("helm %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// helmPath is the helm of hack/helm, which takes minutes the first time.
var helmPath = sync.OnceValues(func() (string, error) {
	build := exec.Command("../hack/helm/build.sh")
	build.Stderr = os.Stderr
	dir, err := build.Output()
	return filepath.Join(string(bytes.TrimSpace(dir)), "helm"), err
})
