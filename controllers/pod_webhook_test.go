// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

// cached are these policies in a cache, all of the namespace of request.
func cached(list ...v1alpha1.FunnelPolicy) policies {
	indexer := toolscache.NewIndexer(toolscache.MetaNamespaceKeyFunc, policyIndexers)
	for i := range list {
		p := list[i].DeepCopy()
		p.Namespace = "shop"
		if err := indexer.Add(p); err != nil {
			panic(err)
		}
	}
	return policies{indexer: indexer, synced: func() bool { return true }}
}

// unread is a cache that was never filled.
func unread() policies {
	c := cached()
	c.synced = func() bool { return false }
	return c
}

// lister is a reader of FunnelPolicies that counts its calls, or fails.
type lister struct {
	client.Reader
	policies []v1alpha1.FunnelPolicy
	err      error
	calls    int
}

func (l *lister) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	l.calls++
	into.(*v1alpha1.FunnelPolicyList).Items = l.policies
	return l.err
}

func selectingApp(name, app string) v1alpha1.FunnelPolicy {
	return v1alpha1.FunnelPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.FunnelPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
	}
}

func unreadable(name string) v1alpha1.FunnelPolicy {
	policy := selectingApp(name, "web")
	policy.Spec.PodSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Like"}}
	return policy
}

// What the cache and the API server hold, what is asked, and the answer: "no
// change", "injected", or code and beginning of the message of a denial.
func TestAnswerFollowsWhatIsFound(t *testing.T) {
	web := selectingApp("web", "web")
	broken := errors.New("etcd is down")
	required := label(v1alpha1.LabelInject, v1alpha1.InjectRequired)
	edited := unreadable("odd")
	edited.Status.RulesDigest = "sha256:1"
	rows := []struct {
		name      string
		cached    policies
		live      *lister
		pod       *corev1.Pod
		want      string
		liveLooks int
	}{
		{"no policy", cached(), &lister{}, webPod(), "no change", 0},
		{"a policy", cached(web), &lister{}, webPod(), "injected", 0},
		{"required, in the cache", cached(web), &lister{}, webPod(required), "injected", 0},
		{"required, too young for the cache", cached(), &lister{policies: []v1alpha1.FunnelPolicy{web}}, webPod(required), "injected", 1},
		{"required, nowhere", cached(), &lister{}, webPod(required), `403 the label sfunnel.io/inject is "required" and no FunnelPolicy`, 1},
		{"the cache is not filled", unread(), &lister{policies: []v1alpha1.FunnelPolicy{web}}, webPod(), "500 find the FunnelPolicies of the pod: the FunnelPolicies are not read yet", 0},
		{"the live look fails", cached(), &lister{err: broken}, webPod(required), "500 find the FunnelPolicies of the pod: etcd is down", 1},
		{"a selector that never could be read", cached(unreadable("odd")), &lister{}, webPod(), "no change", 0},
		{"beside one that can be", cached(unreadable("odd"), web), &lister{}, webPod(), "injected", 0},
		{"required, by one that never could be read", cached(unreadable("odd")), &lister{policies: []v1alpha1.FunnelPolicy{unreadable("odd")}}, webPod(required), `403 the label sfunnel.io/inject is "required" and no FunnelPolicy`, 1},
		{"a selector that can't be read, of a policy that has rules", cached(edited, web), &lister{}, webPod(),
			`500 find the FunnelPolicies of the pod: FunnelPolicy odd: spec.podSelector: "Like" is not a valid label selector operator`, 0},
		{"opted out", unread(), &lister{err: broken}, webPod(label(v1alpha1.LabelInject, v1alpha1.InjectFalse)), "no change", 0},
		{"a static pod's mirror", cached(web), &lister{}, webPod(annotation(corev1.MirrorPodAnnotationKey, "x")), "no change", 0},
		{"our label and container, no policy", cached(), &lister{}, webPod(label(v1alpha1.LabelInjected, v1alpha1.InjectedTrue),
			func(p *corev1.Pod) {
				p.Spec.InitContainers = []corev1.Container{{Name: v1alpha1.InitContainerName}}
			}), "no change", 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			response := answer(row.cached, row.live, request("shop", mustJSON(t, row.pod)))
			if got := summary(response); !strings.HasPrefix(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
			if row.live.calls != row.liveLooks {
				t.Errorf("%d live looks, want %d", row.live.calls, row.liveLooks)
			}
		})
	}
}

func TestRequestsThatDontConcernUs(t *testing.T) {
	pod := mustJSON(t, webPod())
	rows := map[string]func(*admission.Request){
		"kube-system":      func(r *admission.Request) { r.Namespace = "kube-system" },
		"our own":          func(r *admission.Request) { r.Namespace = "sfunnel-system" },
		"an update":        func(r *admission.Request) { r.Operation = admissionv1.Update },
		"an eviction":      func(r *admission.Request) { r.SubResource = "eviction" },
		"a new ephemeral":  func(r *admission.Request) { r.SubResource = "ephemeralcontainers" },
		"a node's binding": func(r *admission.Request) { r.SubResource = "binding" },
	}
	for name, change := range rows {
		t.Run(name, func(t *testing.T) {
			req := request("shop", pod)
			change(&req)
			if got := summary(answer(unread(), &lister{}, req)); got != "no change" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestWhatIsNoPodIsRefused(t *testing.T) {
	if got := summary(answer(cached(), &lister{}, request("shop", []byte(`{"spec":[]}`)))); !strings.HasPrefix(got, "400 ") {
		t.Errorf("got %q", got)
	}
}

// A newer API server knows fields that we don't. They stay, and stay with the
// containers and volumes that they belong to, although ours comes in front.
func TestFieldsThatWeDontKnowStay(t *testing.T) {
	sent := []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","labels":{"app":"web"},"future":{"a":[1,2.5]}},
		"spec":{"future":9007199254740993,
			"initContainers":[{"name":"one","image":"one:1","future":"one"},{"name":"two","image":"two:1","restartPolicy":"Always","future":"two"}],
			"containers":[{"name":"app","image":"app:1","future":"app"}],
			"volumes":[{"name":"data","futureSource":{"x":true}}]}}`)
	got := mustApply(t, sent, answer(cached(selectingApp("web", "web")), &lister{}, request("shop", sent)))

	want := map[string]any{}
	mustUnmarshal(t, sent, &want)
	for _, field := range []string{"initContainers", "volumes"} {
		list := got["spec"].(map[string]any)[field].([]any)
		ours := slices.DeleteFunc(slices.Clone(list), func(item any) bool {
			return !strings.HasPrefix(item.(map[string]any)["name"].(string), "sfunnel-")
		})
		others := slices.DeleteFunc(slices.Clone(list), func(item any) bool {
			return strings.HasPrefix(item.(map[string]any)["name"].(string), "sfunnel-")
		})
		if len(ours) != 1 {
			t.Errorf("%s holds %d of ours", field, len(ours))
		}
		got["spec"].(map[string]any)[field] = others
	}
	if first := got["spec"].(map[string]any)["initContainers"].([]any)[0].(map[string]any); first["name"] != "one" {
		t.Errorf("the order changed: %v is first", first["name"])
	}
	delete(got["metadata"].(map[string]any)["labels"].(map[string]any), v1alpha1.LabelInjected)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("but for ours, the pod changed:\n%s", diff)
	}
}

// What the patch makes of the sent pod is what inject.Pod makes of it.
func TestPatchIsTheInjection(t *testing.T) {
	opts := inject.Options{Image: "attacher:1"}
	policies := cached(selectingApp("web", "web"), selectingApp("other", "other"), selectingApp("also", "web"))
	want := webPod(volume("data"))
	sent := mustJSON(t, want)
	if err := inject.Pod(want, []string{"also", "web"}, opts); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time, of the injected pod
		patched := mustApply(t, sent, answer(policies, &lister{}, request("shop", sent)))
		got := &corev1.Pod{}
		sent = mustJSON(t, patched)
		mustUnmarshal(t, sent, got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
}

// Policies are found by one of the labels that they select, whichever it is.
func TestPoliciesAreFoundByAnyLabel(t *testing.T) {
	policy := func(name string, labels map[string]string, expressions ...metav1.LabelSelectorRequirement) v1alpha1.FunnelPolicy {
		return v1alpha1.FunnelPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       v1alpha1.FunnelPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: labels, MatchExpressions: expressions}},
		}
	}
	all := cached(
		policy("a-all", nil),
		policy("b-app", map[string]string{"app": "web"}),
		policy("c-both", map[string]string{"app": "web", "tier": "front"}),
		policy("d-tier", map[string]string{"tier": "front"}),
		policy("e-empty-value", map[string]string{"tier": ""}),
		policy("f-expression", nil, metav1.LabelSelectorRequirement{Key: "app", Operator: metav1.LabelSelectorOpExists}),
		policy("g-three", map[string]string{"zone": "1", "app": "web", "tier": "front"}),
	)
	for _, row := range []struct {
		labels map[string]string
		want   string
	}{
		{nil, "a-all"},
		{map[string]string{"app": "web"}, "a-all b-app f-expression"},
		{map[string]string{"app": "web", "tier": "front"}, "a-all b-app c-both d-tier f-expression"},
		{map[string]string{"app": "other", "tier": "front"}, "a-all d-tier f-expression"},
		{map[string]string{"tier": ""}, "a-all e-empty-value"},
		{map[string]string{"app": "web", "tier": "front", "zone": "1", "x": "y"}, "a-all b-app c-both d-tier f-expression g-three"},
	} {
		candidates, err := all.maySelect("shop", row.labels)
		if err != nil {
			t.Fatal(err)
		}
		found, err := selectingNames(candidates, row.labels)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(slices.Sorted(slices.Values(found)), " "); got != row.want {
			t.Errorf("%v: got %s, want %s", row.labels, got, row.want)
		}
	}
	if found, err := all.maySelect("elsewhere", map[string]string{"app": "web"}); err != nil || len(found) > 0 {
		t.Errorf("in another namespace: %d policies, %v", len(found), err)
	}
}

func selectingNames(candidates []*v1alpha1.FunnelPolicy, labels map[string]string) ([]string, error) {
	return selecting(candidates, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: labels}})
}

func TestPolicyBeingDeletedSelectsNothing(t *testing.T) {
	policy := selectingApp("web", "web")
	now := metav1.Now()
	policy.DeletionTimestamp = &now
	if got := summary(answer(cached(policy), &lister{}, request("shop", mustJSON(t, webPod())))); got != "no change" {
		t.Errorf("got %q", got)
	}
}

// answer does not wait for the cache.
func answer(cached policies, live *lister, req admission.Request) admission.Response {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		panic(err)
	}
	hook := &podWebhook{
		cached:    cached,
		live:      live,
		decoder:   admission.NewDecoder(scheme),
		namespace: "sfunnel-system",
		inject:    inject.Options{Image: "attacher:1"},
	}
	ctx, cancel := context.WithCancel(context.Background())
	if !cached.synced() {
		cancel()
	}
	defer cancel()
	return hook.Handle(ctx, req)
}

// summary is "no change", "injected", or code and message of a denial.
func summary(r admission.Response) string {
	switch {
	case !r.Allowed:
		return fmt.Sprintf("%d %s", r.Result.Code, r.Result.Message)
	case len(r.Patches) == 0:
		return "no change"
	}
	return "injected"
}

func request(namespace string, pod []byte) admission.Request {
	return admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		Operation: admissionv1.Create,
		Namespace: namespace,
		Object:    runtime.RawExtension{Raw: pod},
	}}
}

// webPod has the label app=web and one container.
func webPod(changes ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
	}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

func label(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Labels = maps.Clone(p.Labels)
		p.Labels[key] = value
	}
}

func annotation(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{key: value} }
}

func volume(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name}) }
}

// mustApply is what the API server makes of the pod with the answer.
func mustApply(t *testing.T, sent []byte, r admission.Response) map[string]any {
	t.Helper()
	if !r.Allowed {
		t.Fatalf("denied: %s", r.Result.Message)
	}
	result := map[string]any{}
	if len(r.Patches) == 0 {
		mustUnmarshal(t, sent, &result)
		return result
	}
	patch, err := jsonpatch.DecodePatch(mustJSON(t, r.Patches))
	if err != nil {
		t.Fatal(err)
	}
	patched, err := patch.Apply(sent)
	if err != nil {
		t.Fatal(err)
	}
	mustUnmarshal(t, patched, &result)
	return result
}

func mustJSON(t *testing.T, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func mustUnmarshal(t *testing.T, text []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}
