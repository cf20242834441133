// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/internal/inject"
	"github.com/sfunnel-io/funnel-operator/internal/report"
)

// injected is what injection gives the init container of a pod: the command that
// leaves it its capabilities, and its variables. The report goes to a file.
func injected(t *testing.T, log string) (prefix []string, env string) {
	t.Helper()
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
	must(t, inject.Pod(pod, []string{"web"}, inject.Options{Image: "attacher"}))
	c := pod.Spec.InitContainers[0]
	var names, variables []string
	for _, capability := range c.SecurityContext.Capabilities.Add {
		names = append(names, strings.ToLower(string(capability)))
	}
	for _, v := range c.Env {
		if v.Name == "SFUNNEL_REPORT" {
			v.Value = log
		}
		variables = append(variables, v.Name+"="+v.Value)
	}
	return capabilities(strings.Join(names, " ")), strings.Join(variables, " ")
}

// TestAnInitContainerRunsAgain in its sandbox, as when all containers of a pod are
// restarted, by tcx and by filters, which lo gets.
func TestAnInitContainerRunsAgain(t *testing.T) {
	client, _ := pair(t)
	for _, name := range []string{"eth0", "lo"} {
		log := filepath.Join(t.TempDir(), "report")
		prefix, env := injected(t, log)
		for _, rules := range []string{inlineClient, inlineClient, otherRule + inlineClient, otherRule} {
			root := tree(t, map[string]string{"web/settings": settingsOf("web", `,"interfaces":["`+name+`"]`), "web/egress.rules": rules})
			if got := client.attacherWith(t, prefix, env, "--rules", root); got.code != exitDone || got.stderr != "" {
				t.Fatalf("%s, %q: %v", name, rules, got)
			}
			if r := readReport(t, log); r.Result != report.Attached || r.KeepsFlows != strings.Contains(rules, "inline") {
				t.Errorf("%s, %q: report %+v", name, rules, r)
			}
		}
	}
}
