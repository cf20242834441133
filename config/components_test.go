// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

// The component gives workloads what the webhook would give their pods, but for
// the report's size limit, which it can't count, and the order of volumes, which
// means nothing.
func TestComponentInjectsLikeTheWebhook(t *testing.T) {
	built := parse(t, kustomize(t, ".", "build", "testdata/without-webhook"))
	for _, workload := range []struct{ kind, name string }{{"Deployment", "web"}, {"StatefulSet", "db"}} {
		var got appsv1.Deployment // the template stands at the same place in both
		built.into(t, workload.kind, workload.name, &got)
		pod := &corev1.Pod{ObjectMeta: got.Spec.Template.ObjectMeta, Spec: got.Spec.Template.Spec}
		want := withoutOurs(pod)
		if err := inject.Pod(want, []string{"web-shop"}, inject.Options{Image: "registry.example/attacher:1"}); err != nil {
			t.Fatal(err)
		}
		want.Spec.InitContainers[0].Env[2].Value = "1024"
		for _, p := range []*corev1.Pod{want, pod} {
			slices.SortFunc(p.Spec.Volumes, func(a, b corev1.Volume) int { return strings.Compare(a.Name, b.Name) })
		}
		if diff := cmp.Diff(want, pod); diff != "" {
			t.Errorf("%s %s:\n%s", workload.kind, workload.name, diff)
		}
	}
	if other := built.object(t, "Deployment", "other"); strings.Contains(mustText(t, other), "sfunnel-") {
		t.Error("a workload without the label is injected")
	}
}

// withoutOurs is the pod as it was before it was injected.
func withoutOurs(pod *corev1.Pod) *corev1.Pod {
	before := pod.DeepCopy()
	delete(before.Labels, "sfunnel.io/injected")
	before.Spec.InitContainers = slices.DeleteFunc(before.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == "sfunnel-attach" })
	before.Spec.Volumes = slices.DeleteFunc(before.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == "sfunnel-rules" })
	return before
}

func mustText(t *testing.T, object *unstructured.Unstructured) string {
	t.Helper()
	text, err := object.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
