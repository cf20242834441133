// SPDX-License-Identifier: Apache-2.0

package inject_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

// running is an injected pod of the policies web and dns.
func running(t *testing.T, changes ...change) *corev1.Pod {
	t.Helper()
	pod := podWith(changes...)
	mustInject(t, pod, []string{"web", "dns"})
	return pod
}

func with(p *corev1.Pod, changes ...change) *corev1.Pod {
	for _, change := range changes {
		change(p)
	}
	return p
}

func refreshed(names ...string) change {
	return func(p *corev1.Pod) {
		for _, name := range names {
			p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers,
				corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name}})
		}
	}
}

func five(p *corev1.Pod) {
	for i := range 5 {
		refreshed(fmt.Sprintf("sfunnel-refresh-%d", i+1))(p)
	}
}

// The golden is what a pod of the same policies gets whose programs remember flows.
func TestRefreshGolden(t *testing.T) {
	pod := mustPod(t, "testdata/two-policies.injected.yaml")
	c, err := inject.Refresh(pod, map[string]string{"web": "sha256:2", "metrics": "sha256:9"}, inject.KeepFlows, true)
	if err != nil {
		t.Fatal(err)
	}
	pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, c)
	mustEqualFile(t, "testdata/two-policies.refreshed.yaml", pod)
}

// The container has what the init container has, but for what ephemeral containers
// may not have, the rules that it waits for, and, where flows are to be handed
// over, one capability.
func TestRefreshIsTheInitContainerOnceMore(t *testing.T) {
	for _, row := range []struct {
		flows        inject.Flows
		remembers    bool
		capabilities []corev1.Capability
		drops        bool
	}{
		{inject.KeepFlows, false, []corev1.Capability{"BPF", "NET_ADMIN", "PERFMON"}, false},
		{inject.KeepFlows, true, []corev1.Capability{"BPF", "NET_ADMIN", "PERFMON", "SYS_ADMIN"}, false},
		{inject.RefuseFlows, true, []corev1.Capability{"BPF", "NET_ADMIN", "PERFMON"}, false},
		{inject.DropFlows, true, []corev1.Capability{"BPF", "NET_ADMIN", "PERFMON"}, true},
	} {
		pod := running(t)
		first := pod.Spec.InitContainers[0]
		first.SecurityContext.SELinuxOptions = &corev1.SELinuxOptions{Type: "spc_t"}
		c, err := inject.Refresh(pod, map[string]string{"web": "2"}, row.flows, row.remembers)
		if err != nil {
			t.Fatal(err)
		}
		want := *first.SecurityContext.DeepCopy()
		want.Capabilities.Add = row.capabilities
		if diff := cmp.Diff(&want, c.SecurityContext); diff != "" {
			t.Errorf("%+v: %s", row, diff)
		}
		if c.Image != first.Image || c.ImagePullPolicy != first.ImagePullPolicy || cmp.Diff(first.VolumeMounts, c.VolumeMounts) != "" ||
			c.TerminationMessagePath != first.TerminationMessagePath || inject.Awaits(c, "web") != "2" || inject.Awaits(c, "dns") != "" {
			t.Errorf("%+v: %+v", row, c)
		}
		if drops := slices.Contains(c.Env, corev1.EnvVar{Name: "SFUNNEL_DROP_FLOWS", Value: "1"}); drops != row.drops {
			t.Errorf("%+v: %+v", row, c.Env)
		}
	}
}

func TestRefreshNamesAndReportSizes(t *testing.T) {
	for _, row := range []struct {
		pod  *corev1.Pod
		name string
		max  string // 12288 over all containers that the pod can get; up to 3 at first count as 3
	}{
		{running(t), "sfunnel-refresh-1", "1536"},
		{running(t, thirty), "sfunnel-refresh-1", "341"},
		{with(running(t), refreshed("sfunnel-refresh-1")), "sfunnel-refresh-2", "1536"},
		{with(running(t), refreshed("sfunnel-refresh-3", "debug")), "sfunnel-refresh-4", "1365"},
	} {
		c, err := inject.Refresh(row.pod, map[string]string{"web": "2"}, inject.KeepFlows, false)
		if err != nil || c.Name != row.name || !slices.Contains(c.Env, corev1.EnvVar{Name: "SFUNNEL_REPORT_MAX", Value: row.max}) {
			t.Errorf("want %s and %s, got %+v, %v", row.name, row.max, c, err)
		}
	}
}

func TestPodsThatCannotBeRefreshed(t *testing.T) {
	for name, row := range map[string]struct {
		pod    *corev1.Pod
		policy string
		want   error
	}{
		"injected":                             {running(t), "web", nil},
		"four refreshes and a debugger":        {running(t, five, func(p *corev1.Pod) { p.Spec.EphemeralContainers[0].Name = "debug" }), "web", nil},
		"not injected":                         {podWith(), "web", inject.ErrNotInjected},
		"the label without the init container": {podWith(label("sfunnel.io/injected", "true")), "web", inject.ErrNotInjected},
		"created before the policy":            {running(t), "new", inject.ErrNotMounted},
		"five refreshes":                       {running(t, five), "web", inject.ErrSpent},
	} {
		if err := inject.Refreshable(row.pod, row.policy); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := inject.Refresh(row.pod, map[string]string{row.policy: "2"}, inject.KeepFlows, true); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestRefreshPatchAddsToWhatWasSeen(t *testing.T) {
	pod := running(t, refreshed("sfunnel-refresh-1", "debug"))
	pod.UID, pod.ResourceVersion = "u", "7"
	c, err := inject.Refresh(pod, map[string]string{"web": "2"}, inject.KeepFlows, false)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := inject.RefreshPatch(pod, c)
	if err != nil {
		t.Fatal(err)
	}
	before, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	text, err := strategicpatch.StrategicMergePatch(before, patch, corev1.Pod{})
	if err != nil {
		t.Fatal(err)
	}
	var after corev1.Pod
	if err := json.Unmarshal(text, &after); err != nil {
		t.Fatal(err)
	}
	if len(after.Spec.EphemeralContainers) != 3 || !slices.ContainsFunc(after.Spec.EphemeralContainers, func(e corev1.EphemeralContainer) bool { return e.Name == c.Name }) {
		t.Errorf("got %+v", after.Spec.EphemeralContainers)
	}
	after.Spec.EphemeralContainers = pod.Spec.EphemeralContainers
	if diff := cmp.Diff(pod, &after); diff != "" {
		t.Errorf("more was changed:\n%s", diff)
	}
}
