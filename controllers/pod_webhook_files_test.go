// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
	"github.com/sfunnel-io/funnel-operator/internal/manifest"
)

// A pod that is injected in its file is the one that the webhook would make of
// it, and the webhook leaves it as it is.
func TestWebhookAndFilesInjectAlike(t *testing.T) {
	files, err := filepath.Glob("../internal/inject/testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	everything := []v1alpha1.FunnelPolicy{{}}
	everything[0].Name = "web"
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		inFile := injectFile(t, file, string(text))
		for _, sent := range [][]byte{text, []byte(inFile)} {
			json, err := yaml.YAMLToJSON(sent)
			if err != nil {
				t.Fatal(err)
			}
			want, got := map[string]any{}, mustApply(t, json, answer(cached(everything...), &lister{}, request("shop", json)))
			if err := yaml.Unmarshal([]byte(inFile), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(mustPod(t, want), mustPod(t, got)); diff != "" {
				t.Errorf("%s:\n%s", file, diff)
			}
		}
	}
}

func mustPod(t *testing.T, object map[string]any) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{}
	mustUnmarshal(t, mustJSON(t, object), pod)
	return pod
}

func injectFile(t *testing.T, file, text string) string {
	t.Helper()
	s, err := manifest.Parse(file, text)
	if err == nil {
		err = manifest.Inject([]*manifest.Stream{s}, func(*corev1.Pod) []string { return []string{"web"} }, inject.Options{Image: "attacher:1"})
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}
