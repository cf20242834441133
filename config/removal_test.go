// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/checkout"
	"github.com/sfunnel-io/funnel-operator/internal/kubetest"
	"github.com/sfunnel-io/funnel-operator/internal/managertest"
)

// An install of the previous commit with workloads, upgraded to this one, and
// removed. Workloads notice neither.
func TestUpgradeAndRemoval(t *testing.T) {
	c := empty(t, withoutDefinition)
	c.controllers(t)
	before, isPrevious := previousCommit(t)
	var err error
	c.binary, err = managertest.Build(t.Context(), before, t.TempDir())
	must(t, err)
	c.use(t, parse(t, renderFrom(t, filepath.Join(before, "config"), "default", setImages)))
	old := c.run(t)
	c.askAt(t, old)
	eventually(t, "the previous manager is ready", old.Ready)
	namespace := c.optedIn(t)
	mustHelm(t, c.admin, "install", "shop", shopChart, "--namespace", namespace, "--wait=false")
	c.endsAttached(t, namespace)

	var now *manager
	whole := t // the manager outlives the upgrade
	t.Run("an upgrade changes no pod and no rules", func(t *testing.T) {
		untouched := c.snapshot(t)
		before := c.newPod(t, namespace)
		old.stop(t)
		c.binary = current(t)
		c.use(t, install(t))
		now = c.run(whole)
		c.askAt(t, now)
		eventually(t, "the manager is ready", now.Ready)
		c.looksAt(t, namespace)
		untouched(t)
		if !isPrevious {
			t.Skip("upgraded from this commit: the one before it is not in this clone")
		}
		if diff := cmp.Diff(before, c.newPod(t, namespace)); diff != "" && !announced(t, "Changes-Pods:") {
			t.Errorf("pods are injected in another way (a commit may say \"Changes-Pods: why\"):\n%s", diff)
		}
	})
	t.Run("removal leaves nothing but rules that are mounted", func(t *testing.T) { removal(t, c, now, namespace) })
	// Last: it adds an API that nobody serves, and nobody can list all kinds then.
	t.Run("removal keeps rules that pods may mount", func(t *testing.T) { removalKeepsRules(t, c) })
}

// previousCommit is a checkout of it; of this one where the clone has no other.
func previousCommit(t *testing.T) (dir string, isPrevious bool) {
	t.Helper()
	dir = t.TempDir()
	isPrevious, err := checkout.Previous(dir)
	if errors.Is(err, checkout.ErrNoCommit) {
		t.Skip(err)
	}
	must(t, err)
	return dir, isPrevious
}

// announced says whether the message of this commit holds the words.
func announced(t *testing.T, words string) bool {
	t.Helper()
	message, err := exec.Command("git", "log", "-1", "--format=%B").Output()
	must(t, err)
	return strings.Contains(string(message), words)
}

// newPod is what is injected into a new pod of the namespace's web workload.
func (c *cluster) newPod(t *testing.T, namespace string) corev1.PodSpec {
	t.Helper()
	pod := webPod(namespace)
	eventually(t, "a pod is injected", func(ctx context.Context) error {
		pod = webPod(namespace)
		return c.Create(ctx, pod, client.DryRunAll)
	})
	if len(mounted(pod)) != 1 {
		t.Fatalf("not injected: %+v", pod.Spec)
	}
	return pod.Spec
}

// looksAt waits until a manager counts one more pod of the namespace's policy.
func (c *cluster) looksAt(t *testing.T, namespace string) {
	t.Helper()
	must(t, c.Create(t.Context(), webPod(namespace)))
	eventually(t, "the manager counts a new pod", func(ctx context.Context) error {
		policy := &v1alpha1.FunnelPolicy{}
		must(t, c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "web"}, policy))
		if policy.Status.Pods.Matched != 3 {
			return fmt.Errorf("pods: %+v", policy.Status.Pods)
		}
		return nil
	})
}

// publishes waits until the manager publishes the rules of a new policy.
func (c *cluster) publishes(t *testing.T, namespace string) {
	t.Helper()
	policy := &everyOperator()[0]
	policy.Namespace = namespace
	must(t, c.Create(t.Context(), policy))
	eventually(t, "the manager publishes rules", func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(policy), policy); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(policy.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("conditions: %+v", policy.Status.Conditions)
		}
		return nil
	})
}

// removal is "make undeploy" of an install with a policy whose pods run, one whose
// pod has ended, and one without pods.
func removal(t *testing.T, c *cluster, m *manager, namespace string) {
	ended := c.optedIn(t)
	c.publishes(t, ended)
	pod := webPod(ended)
	eventually(t, "a pod is created", func(ctx context.Context) error { return c.Create(ctx, pod) })
	pod.Status.Phase = corev1.PodSucceeded
	must(t, c.Status().Update(t.Context(), pod))
	before, deleted := c.pods(t, namespace), c.deletions(t)
	finished := make(chan string, 1)
	go func() { finished <- c.undeploy(t) }()
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: own, Name: "sfunnel-manager"}}
	eventually(t, "the Deployment goes", func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(deployment), deployment); err == nil {
			return fmt.Errorf("it is there")
		}
		return nil
	})
	m.stop(t)
	said := <-finished

	if webhook, manager := deleted("MutatingWebhookConfiguration"), deleted("Deployment"); webhook == 0 || webhook > manager {
		t.Errorf("the webhook configuration went at %d, the manager at %d", webhook, manager)
	}
	if diff := cmp.Diff(before, c.pods(t, namespace)); diff != "" {
		t.Errorf("running pods were changed:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"ConfigMap " + namespace + "/web-funnel"}, c.ofOurs(t)); diff != "" {
		t.Errorf("what remains:\n%s", diff)
	}
	fresh := webPod(namespace)
	must(t, c.Create(t.Context(), fresh))
	if len(fresh.Spec.InitContainers)+len(fresh.Spec.Volumes) > 0 {
		t.Errorf("a new pod is injected: %+v", fresh.Spec)
	}
	command := "kubectl delete configmap --namespace=" + namespace + " web-funnel"
	if strings.Count(said, "kubectl delete configmap") != 1 || !strings.Contains(said, command) {
		t.Errorf("it said:\n%s", said)
	}
	c.kubectl(t, "bash", "-c", command)
	if left := c.ofOurs(t); len(left) > 0 {
		t.Errorf("after the command: %v", left)
	}
	c.undeploy(t) // once more, with nothing left
}

// An aggregated API that nobody serves, as metrics-server that is down, does not keep
// anybody from removing the operator. While pods can't be listed no rules go, and of
// rules that pods mount none goes, however they mount them.
func removalKeepsRules(t *testing.T, c *cluster) {
	service := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": map[string]any{"name": "v1.away.example"},
		"spec": map[string]any{
			"group": "away.example", "version": "v1", "groupPriorityMinimum": int64(100), "versionPriority": int64(10),
			"service": map[string]any{"name": "away", "namespace": "default"},
		},
	}}
	must(t, c.Create(t.Context(), service))
	namespace := c.optedIn(t)
	for _, name := range []string{"plain-funnel", "projected-funnel", "unmounted-funnel"} {
		must(t, c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, Labels: map[string]string{v1alpha1.LabelPolicy: "x"},
		}}))
	}
	source := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	pod := webPod(namespace)
	pod.Spec.Volumes = []corev1.Volume{
		{Name: "plain", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: source("plain-funnel")}}},
		{Name: "projected", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: source("projected-funnel")}},
		}}}},
	}
	must(t, c.Create(t.Context(), pod))

	if out, err := c.try(t, "env", "PATH="+withoutPods(t), "../hack/undeploy.sh"); err == nil {
		t.Errorf("pods could not be listed, and it said:\n%s", out)
	}
	maps := func() (names []string) {
		var list corev1.ConfigMapList
		must(t, c.List(t.Context(), &list, client.HasLabels{v1alpha1.LabelPolicy}))
		for _, m := range list.Items {
			names = append(names, m.Name)
		}
		return names
	}
	if got := maps(); len(got) != 3 {
		t.Errorf("pods could not be listed, and what remains is %v", got)
	}
	c.undeploy(t)
	if diff := cmp.Diff([]string{"plain-funnel", "projected-funnel"}, maps()); diff != "" {
		t.Error(diff)
	}
}

// withoutPods is a PATH with a kubectl that can't list pods.
func withoutPods(t *testing.T) string {
	t.Helper()
	assets, err := kubetest.Assets()
	must(t, err)
	dir := t.TempDir()
	script := "#!/bin/sh\n[ \"$1 $2\" != 'get pods' ] || exit 1\nexec " + filepath.Join(assets, "kubectl") + ` "$@"` + "\n"
	must(t, os.WriteFile(filepath.Join(dir, "kubectl"), []byte(script), 0o700))
	return dir + ":" + os.Getenv("PATH")
}

func (c *cluster) undeploy(t *testing.T) string { return c.kubectl(t, "../hack/undeploy.sh") }

// kubectl runs a command that uses kubectl, and returns what it printed.
func (c *cluster) kubectl(t *testing.T, name string, args ...string) string {
	out, err := c.try(t, name, args...)
	if err != nil {
		t.Errorf("%s %v: %v\n%s", name, args, err, out)
	}
	return out
}

// try is kubectl of a command that may fail.
func (c *cluster) try(t *testing.T, name string, args ...string) (string, error) {
	dir, err := kubetest.Assets()
	if err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+c.admin, "PATH="+dir+":"+os.Getenv("PATH"))
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err = command.Run()
	return out.String(), err
}

// pods are those of the namespace, by name, without what their status says.
func (c *cluster) pods(t *testing.T, namespace string) map[string]string {
	t.Helper()
	var list corev1.PodList
	must(t, c.List(t.Context(), &list, client.InNamespace(namespace)))
	pods := map[string]string{}
	for _, pod := range list.Items {
		pods[pod.Name] = fmt.Sprint(pod.UID, pod.DeletionTimestamp, asText(t, pod.Spec))
	}
	return pods
}

// deletions watches objects of two kinds go. What it returns is the revision at which
// the first one of a kind went, 0 when none goes.
func (c *cluster) deletions(t *testing.T) func(kind string) uint64 {
	t.Helper()
	watcher, err := client.NewWithWatch(c.config, client.Options{Scheme: c.Scheme()})
	must(t, err)
	watches := map[string]watch.Interface{}
	for kind, list := range map[string]client.ObjectList{
		"MutatingWebhookConfiguration": &admissionregistrationv1.MutatingWebhookConfigurationList{}, "Deployment": &appsv1.DeploymentList{},
	} {
		watches[kind], err = watcher.Watch(t.Context(), list)
		must(t, err)
		t.Cleanup(watches[kind].Stop)
	}
	return func(kind string) uint64 {
		for {
			select {
			case event := <-watches[kind].ResultChan():
				if object, ok := event.Object.(client.Object); ok && event.Type == watch.Deleted && strings.HasPrefix(object.GetName(), "sfunnel") {
					revision, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
					must(t, err)
					return revision
				}
			case <-time.After(patience):
				return 0
			}
		}
	}
}

// ofOurs lists every object of every kind that has a label of ours, or whose name
// begins as ours do; pods and events apart.
func (c *cluster) ofOurs(t *testing.T) []string {
	t.Helper()
	api, err := discovery.NewDiscoveryClientForConfig(c.config)
	must(t, err)
	lists, err := api.ServerPreferredResources()
	must(t, err)
	var found []string
	for _, list := range lists {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		must(t, err)
		for _, resource := range list.APIResources {
			if !slices.Contains(resource.Verbs, "list") || resource.Kind == "Pod" || resource.Kind == "Event" {
				continue
			}
			objects := &unstructured.UnstructuredList{}
			objects.SetGroupVersionKind(group.WithKind(resource.Kind))
			must(t, c.List(t.Context(), objects))
			for _, object := range objects.Items {
				if isOurs(&object) {
					found = append(found, strings.TrimSpace(resource.Kind+" "+strings.TrimPrefix(object.GetNamespace()+"/"+object.GetName(), "/")))
				}
			}
		}
	}
	return found
}

func isOurs(object client.Object) bool {
	for key, value := range object.GetLabels() {
		if value == "sfunnel" || strings.HasPrefix(key, "sfunnel.io/") && key != v1alpha1.LabelInjection && key != v1alpha1.LabelInject {
			return true
		}
	}
	return strings.HasPrefix(object.GetName(), "sfunnel") || strings.Contains(object.GetName(), "sfunnel.io")
}
