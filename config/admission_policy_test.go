// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

// The label that says by which way the pods of a namespace are injected here.
const way = "suite.sfunnel.io/way"

// One API server, on which some namespaces belong to the webhook, some to the
// admission policies, and some to nobody: their pods are injected in files.
func TestThreeWaysInjectAlike(t *testing.T) {
	c := start(t)
	m := c.run(t)
	c.askAt(t, m)
	c.webhookOnlyFor(t, "webhook")
	policyInstall := overlay(t, "overlays/admission-policy")
	for _, object := range policyInstall {
		if strings.Contains(object.GetKind(), "AdmissionPolicy") {
			c.apply(t, onlyFor(t, object, "policy"))
		}
	}
	policies := everyOperator()
	ways := map[string]string{}
	for _, name := range []string{"webhook", "policy", "files"} {
		ways[name] = c.namespaceFor(t, name, policies)
	}
	for _, name := range []string{"webhook", "policy"} {
		eventually(t, name+" knows all policies", func(ctx context.Context) error {
			pod := in(ways[name], selectedByAll())
			err := c.Create(ctx, pod, client.DryRunAll)
			if got := mounted(pod); len(got) != len(policies) {
				return fmt.Errorf("%w, mounted %v", err, got)
			}
			return err
		})
	}

	t.Run("pods of files, and random ones", func(t *testing.T) { alike(t, c, ways, policies) })
	t.Run("denials", func(t *testing.T) { deniedAlike(t, c, ways) })
	t.Run("nothing else is left in the pod", func(t *testing.T) { markIsGone(t, c, ways) })
	t.Run("asked again after others changed the pod", func(t *testing.T) { reinvoked(t, c, ways) })
	m.stop(t)
	t.Run("with an SELinux type", func(t *testing.T) { labelledAlike(t, c, policyInstall, ways, policies) })
	t.Run("without a manager, and with one that is no webhook", func(t *testing.T) { noWebhook(t, c, policyInstall) })
}

// noWebhook goes over to the overlay, as a user does.
func noWebhook(t *testing.T, c *cluster, overlay objects) {
	must(t, c.Delete(t.Context(), c.install.object(t, "MutatingWebhookConfiguration", "sfunnel")))
	must(t, c.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: own, Name: "sfunnel-webhook-certificate"}}))
	c.use(t, overlay)
	namespace, policy := c.shop(t)
	labelled := &corev1.Namespace{}
	must(t, c.Get(t.Context(), client.ObjectKey{Name: namespace}, labelled))
	labelled.Labels[way] = "policy"
	must(t, c.Update(t.Context(), labelled))
	pod := webPod(namespace)
	eventually(t, "a pod that requires injection is created", func(ctx context.Context) error { return c.Create(ctx, pod) })
	if got := mounted(pod); len(got) != 1 || pod.Spec.InitContainers[0].Image != attacherImage {
		t.Errorf("mounts %v, init containers %+v", got, pod.Spec.InitContainers)
	}
	m := c.run(t)
	eventually(t, "the manager is ready", m.Ready)
	eventually(t, "it publishes rules, and counts the pod", func(ctx context.Context) error {
		must(t, c.Get(ctx, client.ObjectKeyFromObject(policy), policy))
		if policy.Status.Pods.Pending != 1 {
			return fmt.Errorf("pods: %+v", policy.Status.Pods)
		}
		return c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "web-funnel"}, &corev1.ConfigMap{})
	})
	if code, _ := m.scrape(t, "Bearer "+token(t, c)); code != http.StatusForbidden {
		t.Errorf("metrics answer %d", code)
	}
	quiet(t, m)
	permitted(t, m)
}

// alike creates each pod in each way, as a dry run.
func alike(t *testing.T, c *cluster, ways map[string]string, policies []v1alpha1.FunnelPolicy) {
	pods := slices.Concat(podsOfFiles(t), randomPods(t, 60))
	injected := injectInFiles(t, pods, policies)
	selected, opted := 0, 0
	for i, pod := range pods {
		got := c.same(t, ways, pod, injected[i])
		if n := len(mounted(got)); n > 1 {
			selected++
		}
		if inject.OptedOut(pod) {
			opted++
		}
	}
	if selected < 15 || opted < 1 {
		t.Errorf("of %d pods, %d have several policies and %d opted out: too few to tell", len(pods), selected, opted)
	}
}

// same is what all ways make of the pod, in a dry run; injected is what was made of it
// in a file.
func (c *cluster) same(t *testing.T, ways map[string]string, pod, injected *corev1.Pod) *corev1.Pod {
	t.Helper()
	got := map[string]*corev1.Pod{}
	for name, namespace := range ways {
		sent := in(namespace, pod)
		if name == "files" {
			sent = in(namespace, injected)
		}
		if err := c.Create(t.Context(), sent, client.DryRunAll); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, asText(t, pod))
		}
		got[name] = stripped(sent)
	}
	for _, name := range []string{"policy", "files"} {
		if diff := cmp.Diff(got["webhook"], got[name]); diff != "" {
			t.Fatalf("webhook (-) and %s (+) differ:\n%s\nsent:\n%s", name, diff, asText(t, pod))
		}
	}
	return got["webhook"]
}

// labelledAlike gives the init container an SELinux type: by a flag of the manager, a
// variable of the policy, a flag of the plugin.
func labelledAlike(t *testing.T, c *cluster, overlay objects, ways map[string]string, policies []v1alpha1.FunnelPolicy) {
	m := c.run(t, "--attacher-selinux-type=spc_t")
	defer m.stop(t)
	c.askAt(t, m)
	policy := overlay.object(t, "MutatingAdmissionPolicy", "sfunnel").DeepCopy()
	variables, _, err := unstructured.NestedSlice(policy.Object, "spec", "variables")
	must(t, err)
	for _, variable := range variables {
		if variable := variable.(map[string]any); variable["name"] == "seLinuxType" {
			variable["expression"] = "'spc_t'"
		}
	}
	must(t, unstructured.SetNestedSlice(policy.Object, variables, "spec", "variables"))
	c.apply(t, onlyFor(t, *policy, "policy"))
	for _, name := range []string{"webhook", "policy"} {
		eventually(t, name+" sets the type", func(ctx context.Context) error {
			pod := in(ways[name], selectedByAll())
			if err := c.Create(ctx, pod, client.DryRunAll); err != nil {
				return err
			}
			if got := pod.Spec.InitContainers[0].SecurityContext; got.SELinuxOptions == nil {
				return fmt.Errorf("security context: %+v", got)
			}
			return nil
		})
	}
	pod := selectedByAll()
	injected := injectInFiles(t, []*corev1.Pod{pod}, policies, "--selinux-type", "spc_t")
	want := &corev1.SELinuxOptions{Type: "spc_t"}
	if diff := cmp.Diff(want, c.same(t, ways, pod, injected[0]).Spec.InitContainers[0].SecurityContext.SELinuxOptions); diff != "" {
		t.Error(diff)
	}
}

func deniedAlike(t *testing.T, c *cluster, ways map[string]string) {
	const required = `the label sfunnel.io/inject is "required" and no FunnelPolicy of the namespace selects the pod yet: create the policy, or remove the label`
	container := func(name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: name, Image: "x:1"})
		}
	}
	rows := map[string]func(*corev1.Pod){
		"init container of our name": func(p *corev1.Pod) { container("setup")(p); container("sfunnel-attach")(p) },
		"container of our name":      func(p *corev1.Pod) { p.Spec.Containers[0].Name = "sfunnel-attach" },
		"container of our name, injected": func(p *corev1.Pod) {
			p.Labels[v1alpha1.LabelInjected] = v1alpha1.InjectedTrue
			p.Spec.Containers[0].Name = "sfunnel-attach"
		},
		"volume of our name": func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "data"}, {Name: "sfunnel-rules"}}
		},
		"host network":             func(p *corev1.Pod) { p.Spec.HostNetwork = true },
		"user namespace":           func(p *corev1.Pod) { p.Spec.HostUsers = new(bool) },
		"windows":                  func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} },
		"windows by node selector": func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"} },
		"two faults":               func(p *corev1.Pod) { container("sfunnel-attach")(p); p.Spec.HostNetwork = true },
		"required, and selected by none": func(p *corev1.Pod) {
			p.Labels = map[string]string{v1alpha1.LabelInject: v1alpha1.InjectRequired}
		},
		"required, and with a fault": func(p *corev1.Pod) {
			p.Labels[v1alpha1.LabelInject] = v1alpha1.InjectRequired
			p.Spec.HostNetwork = true
		},
	}
	for name, change := range rows {
		t.Run(name, func(t *testing.T) {
			pod := selectedByAll()
			change(pod)
			webhook := c.Create(t.Context(), in(ways["webhook"], pod), client.DryRunAll)
			policy := c.Create(t.Context(), in(ways["policy"], pod), client.DryRunAll)
			if !apierrors.IsForbidden(webhook) || !apierrors.IsForbidden(policy) {
				t.Fatalf("webhook: %v\npolicy: %v", webhook, policy)
			}
			_, said, _ := strings.Cut(webhook.Error(), "denied the request: ")
			_, got, _ := strings.Cut(policy.Error(), "denied request: ")
			// Two policies refuse a pod that requires injection, and either may be the first.
			if got != said && got != said+"; or "+required {
				t.Errorf("webhook says %q\npolicy says %q", said, policy)
			}
		})
	}
}

// markIsGone creates a pod that two policies select, and one that was copied with
// the status that it had.
func markIsGone(t *testing.T, c *cluster, ways map[string]string) {
	pod := in(ways["policy"], selectedByAll())
	must(t, c.Create(t.Context(), pod))
	copied := in(ways["policy"], &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec, Status: pod.Status})
	copied.Spec.Volumes[slices.IndexFunc(copied.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == v1alpha1.VolumeName })].
		Projected.Sources[0].ConfigMap.Name = "gone-funnel"
	must(t, c.Create(t.Context(), copied))
	for _, p := range []*corev1.Pod{pod, copied} {
		if slices.Contains(mounted(p), "gone-funnel") || len(mounted(p)) != len(everyOperator()) {
			t.Errorf("mounts %v", mounted(p))
		}
		if text := asText(t, p); strings.Contains(text, "Injecting") || len(p.Status.Conditions) > 0 {
			t.Errorf("the pod still has the mark:\n%s", text)
		}
	}
}

// reinvoked lets three other mutating policies put a container each in front, before
// ours or after: the requests of one change the QoS class, and all lower the report's
// size limit.
func reinvoked(t *testing.T, c *cluster, ways map[string]string) {
	const mesh = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: MESH}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {matchExpressions: [{key: suite.sfunnel.io/way, operator: In, values: [webhook, policy]}]}
    objectSelector: {matchLabels: {mesh: "true"}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  variables:
  - {name: container, expression: '{"name": dyn("MESH"), "image": dyn("mesh:1"), "resources": dyn({"requests": {"cpu": "CPU"}})}'}
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: >-
        has(object.spec.initContainers) ?
        [JSONPatch{op: "add", path: "/spec/initContainers/0", value: variables.container}] :
        [JSONPatch{op: "add", path: "/spec/initContainers", value: [variables.container]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: MESH}
spec: {policyName: MESH}
`
	for name, cpu := range map[string]string{"mesh-1": "0", "mesh-2": "1", "mesh-3": "0"} {
		for _, object := range parse(t, []byte(strings.NewReplacer("MESH", name, "CPU", cpu).Replace(mesh))) {
			c.apply(t, &object)
		}
	}
	pod := selectedByAll()
	pod.Labels["mesh"] = "true"
	for _, name := range []string{"webhook", "policy"} {
		got := in(ways[name], pod)
		eventually(t, "the mesh is there", func(ctx context.Context) error {
			got = in(ways[name], pod)
			if err := c.Create(ctx, got, client.DryRunAll); err != nil || len(got.Spec.InitContainers) != 4 {
				return fmt.Errorf("%w, init containers: %v", err, got.Spec.InitContainers)
			}
			return nil
		})
		ours := got.Spec.InitContainers[0]
		if ours.Name != v1alpha1.InitContainerName || ours.Resources.Limits.Cpu().IsZero() || ours.Env[2].Value != "2457" {
			t.Errorf("%s: the first init container is %+v", name, ours)
		}
		if len(mounted(got)) != len(everyOperator()) {
			t.Errorf("%s: mounts %v", name, mounted(got))
		}
	}
}

// everyOperator is policies whose selectors use each operator; one pod is selected
// by all.
func everyOperator() []v1alpha1.FunnelPolicy {
	var list []v1alpha1.FunnelPolicy
	add := func(name string, labels map[string]string, expressions ...metav1.LabelSelectorRequirement) {
		list = append(list, v1alpha1.FunnelPolicy{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "FunnelPolicy"},
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: v1alpha1.FunnelPolicySpec{
				PodSelector: metav1.LabelSelector{MatchLabels: labels, MatchExpressions: expressions},
				Rules:       v1alpha1.Rules{Text: &v1alpha1.RulesText{Ingress: "tcp dport 179 sport 540 unfunnel udp dport 2055"}},
			},
		})
	}
	is := func(key string, operator metav1.LabelSelectorOperator, values ...string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: operator, Values: values}
	}
	add("web", map[string]string{"app": "web"})
	add("web-b", map[string]string{"app": "web", "tier": "front"}) // sorts before "web" as a ConfigMap
	add("a", nil, is("tier", metav1.LabelSelectorOpIn, "front", "middle"))
	add("b", nil, is("app", metav1.LabelSelectorOpExists), is("tier", metav1.LabelSelectorOpNotIn, "back"))
	add("c", map[string]string{"app": "web"}, is("example.com/canary", metav1.LabelSelectorOpDoesNotExist))
	add("d", nil, is("example.com/canary", metav1.LabelSelectorOpNotIn, "yes"), is("tier", metav1.LabelSelectorOpExists))
	return list
}

func selectedByAll() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web", "tier": "front"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
	}
}

// podsOfFiles is the pods that internal/inject has goldens of, but for those that were
// refreshed while they ran: no pod is created with ephemeral containers.
func podsOfFiles(t *testing.T) []*corev1.Pod {
	files, err := filepath.Glob("../internal/inject/testdata/*.yaml")
	must(t, err)
	files = slices.DeleteFunc(files, func(file string) bool { return strings.HasSuffix(file, ".refreshed.yaml") })
	if len(files) < 10 {
		t.Fatalf("found only %v", files)
	}
	var pods []*corev1.Pod
	for _, file := range files {
		pod := &corev1.Pod{}
		must(t, yaml.UnmarshalStrict(mustRead(t, file), pod))
		if pod.Labels == nil {
			pod.Labels = map[string]string{}
		}
		pod.Labels["app"] = "web"
		pods = append(pods, pod)
	}
	return pods
}

// injectInFiles is what kubectl-funnel makes of the pods, with more flags.
func injectInFiles(t *testing.T, pods []*corev1.Pod, policies []v1alpha1.FunnelPolicy, more ...string) []*corev1.Pod {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "kubectl-funnel")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/kubectl-funnel").CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, out)
	}
	var stream bytes.Buffer
	write := func(object any) {
		document, err := yaml.Marshal(object)
		must(t, err)
		fmt.Fprintf(&stream, "---\n%s", document)
	}
	for i := range policies {
		write(&policies[i])
	}
	for i, pod := range pods {
		pod = pod.DeepCopy()
		pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
		pod.Name = fmt.Sprintf("pod-%d", i)
		write(pod)
	}
	command := exec.Command(binary, append([]string{"inject", "-f", "-", "--image", attacherImage}, more...)...)
	command.Stdin = &stream
	out, err := command.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		t.Fatalf("kubectl-funnel: %s", exit.Stderr)
	}
	must(t, err)
	var injected []*corev1.Pod
	for _, object := range parse(t, out) {
		if object.GetKind() != "Pod" {
			continue
		}
		pod := &corev1.Pod{}
		text, err := object.MarshalJSON()
		must(t, err)
		must(t, json.Unmarshal(text, pod))
		injected = append(injected, pod)
	}
	if len(injected) != len(pods) {
		t.Fatalf("%d of %d pods came back", len(injected), len(pods))
	}
	return injected
}

// in is a copy of the pod, to be created in the namespace.
func in(namespace string, pod *corev1.Pod) *corev1.Pod {
	pod = pod.DeepCopy()
	pod.Namespace, pod.Name, pod.GenerateName = namespace, "", "pod-"
	return pod
}

// stripped is what of the pod depends on how it was sent.
func stripped(pod *corev1.Pod) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels, Annotations: pod.Annotations}, Spec: pod.Spec}
}

// mounted names the ConfigMaps of the pod's rules.
func mounted(pod *corev1.Pod) []string {
	var names []string
	for _, volume := range pod.Spec.Volumes {
		if volume.Name != v1alpha1.VolumeName || volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			names = append(names, source.ConfigMap.Name)
		}
	}
	return names
}

// namespaceFor is an opted-in namespace of that way with the policies.
func (c *cluster) namespaceFor(t *testing.T, name string, policies []v1alpha1.FunnelPolicy) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: name + "-",
		Labels:       map[string]string{v1alpha1.LabelInjection: v1alpha1.InjectionEnabled, way: name},
	}}
	must(t, c.Create(t.Context(), namespace))
	for i := range policies {
		policy := policies[i].DeepCopy()
		policy.Namespace = namespace.Name
		must(t, c.Create(t.Context(), policy))
	}
	return namespace.Name
}

// webhookOnlyFor narrows the webhook to the namespaces of one way.
func (c *cluster) webhookOnlyFor(t *testing.T, name string) {
	t.Helper()
	var configuration admissionregistrationv1.MutatingWebhookConfiguration
	must(t, c.Get(t.Context(), client.ObjectKey{Name: "sfunnel"}, &configuration))
	before := configuration.DeepCopy()
	configuration.Webhooks[0].NamespaceSelector.MatchLabels[way] = name
	must(t, c.Patch(t.Context(), &configuration, client.StrategicMergeFrom(before)))
}

// onlyFor narrows an admission policy to the namespaces of one way.
func onlyFor(t *testing.T, object unstructured.Unstructured, name string) *unstructured.Unstructured {
	t.Helper()
	if !strings.HasSuffix(object.GetKind(), "Binding") {
		must(t, unstructured.SetNestedField(object.Object, name, "spec", "matchConstraints", "namespaceSelector", "matchLabels", way))
	}
	return &object
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	return text
}

func asText(t *testing.T, object any) string {
	t.Helper()
	text, err := yaml.Marshal(object)
	must(t, err)
	return string(text)
}
