// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

// showBlock is what the pages tell people to run for the counters of a pod.
var showBlock = regexp.MustCompile(`(?m)^echo '.*' > show\.json\nkubectl .* -- /attacher show.*$`)

// hardenedCounters runs what the pages say, but for waiting for a kubelet.
func hardenedCounters(t *testing.T, c *cluster) {
	for i, page := range []string{"troubleshooting.md", "guides/web.md", "guides/telemetry.md"} {
		text, err := os.ReadFile(filepath.Join("../docs", page))
		must(t, err)
		block := showBlock.FindString(string(text))
		uid, yes := int64(1000), true
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hardened-" + string(rune('a'+i))},
			Spec: corev1.PodSpec{
				SecurityContext: &corev1.PodSecurityContext{RunAsUser: &uid, RunAsNonRoot: &yes},
				Containers:      []corev1.Container{{Name: "app", Image: "app"}},
			},
		}
		must(t, inject.Pod(pod, []string{"web"}, inject.Options{Image: "attacher"}))
		must(t, c.Create(t.Context(), pod))
		command := strings.NewReplacer("POD", pod.Name, "ATTACHER_IMAGE", "attacher", " --attach", "", "show.json", filepath.Join(t.TempDir(), "show.json")).Replace(block)
		command = regexp.MustCompile(`-n \S+`).ReplaceAllString(command, "-n default")
		c.kubectl(t, "sh", "-c", "set -e\n"+command)
		must(t, c.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))
		if len(pod.Spec.EphemeralContainers) != 1 {
			t.Fatalf("%s: %q added %d containers", page, command, len(pod.Spec.EphemeralContainers))
		}
		added := pod.Spec.EphemeralContainers[0]
		s, m := added.SecurityContext, added.VolumeMounts
		if s.Privileged == nil || !*s.Privileged || s.RunAsUser == nil || *s.RunAsUser != 0 || s.RunAsNonRoot == nil || *s.RunAsNonRoot ||
			len(m) != 1 || m[0].Name != pod.Spec.Volumes[0].Name || m[0].MountPath != pod.Spec.InitContainers[0].VolumeMounts[0].MountPath {
			t.Errorf("%s: %q added %+v", page, command, asText(t, added))
		}
	}
}
