// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

var (
	enabled    = Namespace{Name: testNamespace, Injection: v1alpha1.InjectionEnabled, Enforce: "privileged"}
	unlabelled = Namespace{Name: testNamespace}
	inFiles    = Namespace{Name: testNamespace, Injector: Manifests}
	notAsked   = Namespace{Name: testNamespace, Injection: v1alpha1.InjectionEnabled, Enforce: "privileged", Injector: Nobody}
	leftOut    = Namespace{Name: "kube-system", Injection: v1alpha1.InjectionEnabled, Injector: LeftOut}
	restricted = Namespace{Name: testNamespace, Injection: v1alpha1.InjectionEnabled, Enforce: "restricted"}
)

func TestAttached(t *testing.T) {
	const restart = "Run: kubectl -n shop rollout restart deployment/web."
	const enable = "Run: kubectl label namespace shop sfunnel.io/injection=enabled --overwrite."
	const permit = "Run: kubectl label namespace shop pod-security.kubernetes.io/enforce=privileged --overwrite."
	const inject = "Run: kubectl funnel inject -f FILES --image ATTACHER | kubectl apply -f - (FILES: the manifests of these pods and of all policies that select them)."
	const install = "Apply the operator's install again."
	const never = "The cluster never injects pods of namespace kube-system, whatever its labels; kubectl funnel inject injects their manifests."
	for _, test := range []struct {
		name      string
		namespace Namespace
		pods      []*corev1.Pod
		want      verdict
	}{
		{"all current", enabled, []*corev1.Pod{pod("a", current), pod("b", current)},
			yes("Attached", "2 pods with the current rules.")},
		{"no pod", enabled, nil,
			unknown("NoMatchingPods", "No running pod matches spec.podSelector.")},
		{"only pods that don't count", enabled, []*corev1.Pod{pod("a", terminating), pod("b", label(v1alpha1.LabelInject, "false"))},
			unknown("NoMatchingPods", "No running pod matches spec.podSelector. Opted out by the label sfunnel.io/inject: 1 pod.")},
		{"no pod, and the next would not be injected", unlabelled, nil,
			unknown("NoMatchingPods", "No running pod matches spec.podSelector. New pods are not injected, because the namespace is not enabled. "+enable)},
		{"no pod, because the namespace refuses them", restricted, nil,
			no("PodSecurityForbids", "The namespace enforces PodSecurity restricted, which forbids the capabilities that attaching takes, so that injected pods are refused. "+permit)},
		{"not injected", enabled, []*corev1.Pod{pod("a", current), pod("b")},
			no("PodsNotInjected", "Not injected: 1 pod: b. "+restart)},
		{"not injected, namespace not enabled", unlabelled, []*corev1.Pod{pod("b")},
			no("NamespaceNotEnabled", "The namespace is not enabled for injection. "+enable+" Not injected: 1 pod: b. "+restart)},
		{"not injected, as the manifests are", inFiles, []*corev1.Pod{pod("a", current), pod("b")},
			no("PodsNotInjected", "Not injected: 1 pod: b. "+inject)},
		{"manifests inject, whatever the label", inFiles, []*corev1.Pod{pod("a", current)},
			yes("Attached", "1 pod with the current rules.")},
		{"manifests inject, and the namespace refuses", Namespace{Name: testNamespace, Injector: Manifests, Enforce: "restricted"}, nil,
			no("PodSecurityForbids", "The namespace enforces PodSecurity restricted, which forbids the capabilities that attaching takes, so that injected pods are refused. "+permit)},
		{"not injected, as nobody is in that namespace", leftOut, []*corev1.Pod{pod("a", current), pod("b")},
			no("PodsNotInjected", never+" Not injected: 1 pod: b. "+inject)},
		{"no pod in such a namespace", leftOut, nil,
			unknown("NoMatchingPods", "No running pod matches spec.podSelector. "+never)},
		{"such a namespace, not labelled", Namespace{Name: "kube-system", Injector: LeftOut}, []*corev1.Pod{pod("a", current)},
			yes("Attached", "1 pod with the current rules. "+never)},
		{"the operator's own, which refuses", Namespace{Name: "kube-system", Injector: LeftOut, Enforce: "restricted"}, []*corev1.Pod{pod("b")},
			no("PodSecurityForbids", "The namespace enforces PodSecurity restricted, which forbids the capabilities that attaching takes, so that injected pods are refused. Move the workload to a namespace of its own. "+never+" Not injected: 1 pod: b. "+inject)},
		{"not injected, because nobody does", notAsked, []*corev1.Pod{pod("b")},
			no("NobodyInjects", "Nobody injects pods: the webhook's configuration is not there. "+install+" Not injected: 1 pod: b. "+restart)},
		{"nobody would inject the next", notAsked, []*corev1.Pod{pod("a", current)},
			yes("Attached", "1 pod with the current rules. New pods are not injected, because the webhook's configuration is not there. "+install)},
		{"not injected, namespace refuses", restricted, []*corev1.Pod{pod("b")},
			no("PodSecurityForbids", "The namespace enforces PodSecurity restricted, which forbids the capabilities that attaching takes, so that injected pods are refused. "+permit+" Not injected: 1 pod: b. "+restart)},
		{"attached before the namespace was restricted", restricted, []*corev1.Pod{pod("a", current)},
			yes("Attached", "1 pod with the current rules. New pods are refused, because the namespace enforces PodSecurity restricted. "+permit)},
		{"nodes with Windows", enabled, []*corev1.Pod{pod("b", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"} })},
			no("HostNetworkPods", "Can't be injected: 1 pod: b (Windows). Change that or keep them out of spec.podSelector.")},
		{"static, which deleting does not replace", enabled, []*corev1.Pod{pod("b", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} })},
			no("HostNetworkPods", "Can't be injected: 1 pod: b (static: its node makes it from a file). Change that or keep them out of spec.podSelector.")},
		{"host network", enabled, []*corev1.Pod{pod("a", current), pod("b", hostNetwork)},
			no("HostNetworkPods", "Can't be injected: 1 pod: b (hostNetwork: true). Change that or keep them out of spec.podSelector.")},
		{"pending", enabled, []*corev1.Pod{pod("a", current), pod("b", initStatus(waiting("ErrImagePull"), none))},
			no("PodsPending", "No report yet: 1 pod: b (ImagePullBackOff).")},
		{"outdated, two workloads", enabled, []*corev1.Pod{pod("a", outdated), pod("b", outdated, owner("StatefulSet", "db"))},
			no("PodsOutdated", "Without the current rules: 2 pods: a, b. Run: kubectl -n shop rollout restart deployment/web; kubectl -n shop rollout restart statefulset/db.")},
		{"failed", enabled, []*corev1.Pod{pod("a", failing("eth7: no such device")), pod("b", outdated)},
			no("AttachFailed", "Attaching failed in 1 pod: a (eth7: no such device). Without the current rules: 1 pod: b. "+restart)},
		{"many", enabled, repeat(100, outdated),
			no("PodsOutdated", "Without the current rules: 100 pods: pod-000, pod-001, pod-002 and 97 more. "+restart)},
		{"many that nobody owns", enabled, repeat(100, outdated, owner("Job", "batch")),
			no("PodsOutdated", "Without the current rules: 100 pods: pod-000, pod-001, pod-002 and 97 more. Run: kubectl -n shop delete pod pod-000; kubectl -n shop delete pod pod-001; kubectl -n shop delete pod pod-002; and likewise for the others.")},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := censusOf(0, test.pods...).attached(test.namespace, "", "")
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(verdict{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func repeat(n int, edits ...func(*corev1.Pod)) []*corev1.Pod {
	pods := make([]*corev1.Pod, n)
	for i := range pods {
		pods[i] = pod(fmt.Sprintf("pod-%03d", i), edits...)
	}
	return pods
}

func TestCounts(t *testing.T) {
	c := censusOf(0, pod("a", current), pod("b", outdated), pod("c"), pod("d", failing("x")), pod("e", injectedPod),
		pod("f", label(v1alpha1.LabelInject, "false")), pod("g", terminating), pod("h", hostNetwork))
	want := v1alpha1.PodCounts{Matched: 6, Attached: 1, Pending: 1, Outdated: 1, Missing: 2, Failed: 1, OptedOut: 1}
	if got := c.Counts(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A census does not depend on the order of pods, nor on how they are divided
// into two that are merged.
func TestCensusIsTheSameInAnyOrder(t *testing.T) {
	pods := append(repeat(40, outdated), pod("x", hostNetwork), pod("y"), pod("z", failing("boom")), pod("w", owner("Job", "j")))
	for i := range 40 {
		pods[i].Labels["kind"] = fmt.Sprint(i)
	}
	want := censusOf(20, pods...)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		random.Shuffle(len(pods), func(i, j int) { pods[i], pods[j] = pods[j], pods[i] })
		at := random.IntN(len(pods))
		got := censusOf(20, pods[:at]...)
		got.Merge(censusOf(20, pods[at:]...))
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Census{}, sample{}, commands{}, room{})); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestMessagesAreBounded(t *testing.T) {
	long := strings.Repeat("ü", 5000)
	c := censusOf(0, repeat(300, failing(long), owner("StatefulSet", long))...)
	c.Merge(censusOf(0, repeat(300, outdated, owner("StatefulSet", long))...))
	if got := len(c.attached(enabled, "", "").message); got > longestMessage {
		t.Errorf("message of %d bytes", got)
	}
}

// Pods that start before there are rules wait for them, or have to start once more.
func TestRolloutWaitsForRules(t *testing.T) {
	empty := func(f *Facts) { f.ConfigMap = ConfigMap{Exists: true, Empty: true} }
	const restart = "Run: kubectl -n shop rollout restart deployment/web."
	for name, test := range map[string]struct {
		facts Facts
		want  string
	}{
		"published":   {published(t), restart},
		"stale rules": {published(t, conflicting), restart},
		"never published": {published(t, conflicting, notPublished),
			"First mend what Programmed says, since new pods would wait for rules; then roll these out."},
		"a target port that pods name": {published(t, unnumbered("web", "http"), notPublished), restart},
		"a target port that no pod names": {published(t, unnumbered("web", "web"), notPublished),
			"First mend what Programmed says, since new pods would wait for rules; then roll these out."},
		"a target port that pods name to which the Service does not lead": {published(t, unnumbered("other", "http"), notPublished),
			"First mend what Programmed says, since new pods would wait for rules; then roll these out."},
		"a target port that pods name, and a ConfigMap of somebody else": {published(t, unnumbered("web", "http"), unwritten(v1alpha1.ReasonConfigMapNotOwned, "Not ours.")),
			"First mend what Programmed says, since new pods would wait for rules; then roll these out."},
		"not released": {published(t, unresolved(v1alpha1.ReasonBackendNotAttached, "1 of 2"), empty),
			"Roll these out when Programmed is True: there are no rules for them yet."},
		"taken back": {published(t, empty, func(f *Facts) { f.Program.Revoked = true }), restart},
	} {
		t.Run(name, func(t *testing.T) {
			test.facts.Pods, test.facts.Namespace = censusOf(0, pod("b", containerPort("http", 8080, corev1.ProtocolTCP))), enabled
			got := test.facts.verdicts(nil)[v1alpha1.ConditionAttached]
			if want := no("PodsNotInjected", "Not injected: 1 pod: b. "+test.want); got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}
