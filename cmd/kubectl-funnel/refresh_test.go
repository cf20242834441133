// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
	"github.com/sfunnel-io/funnel-operator/internal/report"
)

// fleet is an API server with the policy web, whose current digest is "new", and
// pods, and a kubelet that lets each refresh container end as outcome says when a pod
// is read next.
type fleet struct {
	lock      sync.Mutex
	pods      []*corev1.Pod
	outcome   func(pod string) report.Report
	forbidden bool
	most      int // how many refresh containers ran at a time
	lists     int // how often all pods were read
}

// with adds a pod that started with these rules and mounts those of these policies.
func (f *fleet) with(name, digest string, policies ...string) *fleet {
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "1", ResourceVersion: "1", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}},
	}
	if err := inject.Pod(pod, policies, inject.Options{Image: "attacher"}); err != nil {
		panic(err)
	}
	started := report.Report{Result: report.Attached, Digests: map[string]string{"web": digest}, KeepsFlows: strings.HasPrefix(name, "inline")}
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: v1alpha1.InitContainerName, State: terminated(started)}}
	f.pods = append(f.pods, pod)
	return f
}

// without adds a pod that was not injected, with these labels besides.
func (f *fleet) without(name string, labels map[string]string) *fleet {
	f.with(name, "", "web")
	pod := f.pods[len(f.pods)-1]
	pod.Spec, pod.Status = corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}}, corev1.PodStatus{}
	delete(pod.Labels, v1alpha1.LabelInjected)
	maps.Copy(pod.Labels, labels)
	return f
}

func terminated(r report.Report) corev1.ContainerState {
	code := int32(0)
	if r.Result != report.Attached {
		code = 1
	}
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Message: string(r.Marshal(0))}}
}

func succeeds(string) report.Report {
	return report.Report{Result: report.Attached, Digests: map[string]string{"web": "new"}}
}

// tick lets all containers that run end.
func (f *fleet) tick() {
	running := 0
	for _, p := range f.pods {
		for len(p.Status.EphemeralContainerStatuses) < len(p.Spec.EphemeralContainers) {
			c := p.Spec.EphemeralContainers[len(p.Status.EphemeralContainerStatuses)]
			p.Status.EphemeralContainerStatuses = append(p.Status.EphemeralContainerStatuses, corev1.ContainerStatus{Name: c.Name, State: terminated(f.outcome(p.Name))})
			running++
		}
	}
	f.most = max(f.most, running)
}

func (f *fleet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.lock.Lock()
	defer f.lock.Unlock()
	w.Header().Set("Content-Type", "application/json")
	const pods = "/api/v1/namespaces/shop/pods"
	switch name, patch := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, pods+"/"), "/ephemeralcontainers"); {
	case patch && f.forbidden:
		w.WriteHeader(http.StatusForbidden)
		answer(w, metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden,
			Message: fmt.Sprintf(`pods %q is forbidden: User "me" cannot patch resource "pods/ephemeralcontainers"`, name)})
	case patch:
		f.patch(w, r, name)
	case r.URL.Path == pods:
		f.lists++
		list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
		for _, p := range f.pods {
			list.Items = append(list.Items, *p)
		}
		answer(w, list)
	case strings.HasPrefix(r.URL.Path, pods):
		f.tick()
		for _, p := range f.pods {
			if p.Name == name {
				answer(w, p)
			}
		}
	default:
		p := v1alpha1.FunnelPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Generation: 1}}
		p.Spec.PodSelector.MatchLabels = map[string]string{"app": "web"}
		p.Status.ObservedGeneration, p.Status.RulesDigest = 1, "new"
		later := *p.DeepCopy()
		later.Name, later.Generation = "later", 2
		answer(w, v1alpha1.FunnelPolicyList{TypeMeta: metav1.TypeMeta{APIVersion: "sfunnel.io/v1alpha1", Kind: "FunnelPolicyList"}, Items: []v1alpha1.FunnelPolicy{p, later}})
	}
}

func (f *fleet) patch(w http.ResponseWriter, r *http.Request, name string) {
	patch, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	for _, p := range f.pods {
		if p.Name != name {
			continue
		}
		before, _ := json.Marshal(p)
		after, err := strategicpatch.StrategicMergePatch(before, patch, corev1.Pod{})
		if err == nil {
			err = json.Unmarshal(after, p)
		}
		if err != nil {
			panic(err)
		}
		answer(w, p)
	}
}

func answer(w io.Writer, object any) { _ = json.NewEncoder(w).Encode(object) }

func (f *fleet) run(t *testing.T, line string) ran {
	t.Helper()
	if f.outcome == nil {
		f.outcome = succeeds
	}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return runWith("", append([]string{"refresh", "--kubeconfig", mustKubeconfig(t, server.URL)}, strings.Fields(line)...)...)
}

func TestRefreshTellsOfEachPod(t *testing.T) {
	fails := func(pod string) report.Report {
		if pod == "b" {
			return report.Report{Result: report.Failed, Error: "boom"}
		}
		return succeeds(pod)
	}
	for name, c := range map[string]struct {
		fleet *fleet
		args  string
		want  ran
	}{
		"a policy's pods": {(&fleet{}).with("a", "old", "web").with("b", "new", "web").with("inline", "old", "web"), "web --max-unavailable 100%",
			ran{exitDone, "pod/b: runs the current rules\npod/a: added sfunnel-refresh-1\npod/inline: added sfunnel-refresh-1, with SYS_ADMIN to hand over flows\npod/a: runs the current rules\npod/inline: runs the current rules\n", ""}},
		"one pod": {(&fleet{}).with("a", "old", "web").with("b", "old", "web"), "pod/a",
			ran{exitDone, "pod/a: added sfunnel-refresh-1\npod/a: runs the current rules\n", ""}},
		"only said": {(&fleet{}).with("a", "old", "web").with("inline", "old", "web"), "web --dry-run --flows refuse",
			ran{exitDone, "pod/a: would get sfunnel-refresh-1\npod/inline: would get sfunnel-refresh-1\n", ""}},
		"it stops at the first failure": {&fleet{outcome: fails}, "web",
			ran{exitFound, "pod/a: added sfunnel-refresh-1\npod/a: runs the current rules\npod/b: added sfunnel-refresh-1\npod/b: failed, and keeps its rules from before: boom\n",
				"kubectl funnel: refresh: stopped at the first failure; 1 pods were not refreshed\n"}},
		"not mounted": {(&fleet{}).with("a", "old", "other"), "web",
			ran{exitFound, "pod/a: can't be refreshed, replace it: " + inject.ErrNotMounted.Error() + "\n", "kubectl funnel: refresh: 1 of 1 pods are without the current rules\n"}},
		"forbidden": {(&fleet{forbidden: true}).with("a", "old", "web"), "web",
			ran{exitFound, "", "kubectl funnel: refresh: pods \"a\" is forbidden: User \"me\" cannot patch resource \"pods/ephemeralcontainers\"\nrefresh needs the permission to patch pods/ephemeralcontainers in namespace shop, as kubectl debug does\n"}},
		"no such policy":         {&fleet{}, "blog", ran{exitWrong, "", "kubectl funnel: namespace shop has neither a FunnelPolicy nor an injected pod blog\n"}},
		"no such pod":            {&fleet{}, "pod/web", ran{exitWrong, "", "kubectl funnel: namespace shop has no injected pod web: what is not injected needs to be replaced\n"}},
		"not published yet":      {&fleet{}, "later", ran{exitWrong, "", "kubectl funnel: FunnelPolicy shop/later: the operator has not published its current rules yet; see kubectl funnel status -n shop later\n"}},
		"no name":                {&fleet{}, "", ran{exitWrong, "", "kubectl funnel: refresh: name a POLICY, or pods as pod/NAME\n"}},
		"no pods":                {&fleet{}, "web", ran{exitDone, "There is no pod to refresh.\n", ""}},
		"no pods, only said":     {&fleet{}, "web --dry-run", ran{exitDone, "There is no pod to refresh.\n", ""}},
		"by their kinds":         {(&fleet{}).with("web", "old", "web"), "fp/web pods/web funnelpolicies.sfunnel.io/web --dry-run", ran{exitDone, "pod/web: would get sfunnel-refresh-1\n", ""}},
		"another kind":           {&fleet{}, "web deployment/web", ran{exitWrong, "", "kubectl funnel: refresh: \"deployment/web\": want POLICY or pod/NAME\n"}},
		"a pod for a policy":     {(&fleet{}).with("a", "old", "web"), "fp/a", ran{exitWrong, "", "kubectl funnel: namespace shop has no FunnelPolicy a\n"}},
		"of deleted policies":    {(&fleet{}).with("b", "old", "gone"), "pod/b", ran{exitWrong, "", "kubectl funnel: namespace shop has no FunnelPolicy whose rules pod b mounts\n"}},
		"not injected, as a pod": {(&fleet{}).without("b", nil), "pod/b", ran{exitWrong, "", "kubectl funnel: namespace shop has no injected pod b: what is not injected needs to be replaced\n"}},
		"not injected": {(&fleet{}).with("a", "old", "web").without("b", nil).without("c", map[string]string{v1alpha1.LabelInject: v1alpha1.InjectFalse}).without("d", map[string]string{"app": "db"}), "web",
			ran{exitFound, "pod/b: was not injected: replace it\npod/a: added sfunnel-refresh-1\npod/a: runs the current rules\n", "kubectl funnel: refresh: 1 of 2 pods are without the current rules\n"}},
		"bad pace":  {&fleet{}, "web --max-unavailable 0", ran{exitWrong, "", "kubectl funnel: refresh: --max-unavailable \"0\": want a number from 1, or a percentage\n"}},
		"bad flows": {&fleet{}, "web --flows lose", ran{exitWrong, "", "kubectl funnel: refresh: --flows \"lose\": want keep, refuse or drop\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "it stops at the first failure" {
				c.fleet.with("a", "old", "web").with("b", "old", "web").with("c", "old", "web")
			}
			if got := c.fleet.run(t, c.args); got != c.want {
				t.Errorf("got %v\nwant %v", got, c.want)
			}
		})
	}
}

func TestRefreshKeepsItsPace(t *testing.T) {
	f := &fleet{}
	for i := range 6 {
		f.with(fmt.Sprintf("web-%d", i), "old", "web")
	}
	if got := f.run(t, "web --max-unavailable 2"); got.code != exitDone || f.most != 2 || f.lists != 1 {
		t.Errorf("%d at a time, %d lists: %v", f.most, f.lists, got)
	}
}
