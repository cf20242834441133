// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/internal/certs"
)

// "make deploy" over other overlays: the webhook is asked neither after its managers
// went nor before they came, and nothing of the overlay before remains.
func TestDeployOverAnotherOverlay(t *testing.T) {
	c := empty(t, withoutDefinition)
	c.controllers(t)
	go c.playManagers(t.Context())
	deploy := func(overlay string) {
		t.Helper()
		c.kubectl(t, "../hack/deploy.sh", managerImage, attacherImage, overlay)
		folder := "overlays/" + overlay
		if overlay == "" {
			folder = "default"
		}
		if diff := cmp.Diff(clusterScoped(overlayNames(t, folder)), clusterScoped(c.ofOurs(t))); diff != "" {
			t.Errorf("%s: wanted (-) and there (+):\n%s", folder, diff)
		}
	}
	deploy("in-place")
	deploy("") // the permission is taken back

	for _, overlay := range []string{"no-webhook", "admission-policy"} {
		configurations := c.changes(t, &admissionregistrationv1.MutatingWebhookConfigurationList{})
		deployments := c.changes(t, &appsv1.DeploymentList{})
		policies := c.changes(t, &admissionregistrationv1.ValidatingAdmissionPolicyList{})
		deploy(overlay)
		forgotten := configurations(func(e watch.Event) bool { return e.Type == watch.Deleted })
		if unserved := deployments(func(e watch.Event) bool { return !serves(e.Object) }); forgotten > unserved {
			t.Errorf("%s: managers cease to answer at %d, and are asked until %d", overlay, unserved, forgotten)
		}
		if overlay == "admission-policy" {
			if refused := policies(func(watch.Event) bool { return true }); refused > forgotten {
				t.Errorf("the webhook goes at %d, before the policies come at %d", forgotten, refused)
			}
		}
		deploy("")
		served := deployments(func(e watch.Event) bool { return serves(e.Object) && rolledOut(e.Object) })
		if asked := configurations(func(e watch.Event) bool { return e.Type == watch.Added }); asked < served {
			t.Errorf("%s: managers are asked at %d, and answer from %d", overlay, asked, served)
		}
		if overlay == "admission-policy" {
			trusted := configurations(func(e watch.Event) bool {
				return len(e.Object.(*admissionregistrationv1.MutatingWebhookConfiguration).Webhooks[0].ClientConfig.CABundle) > 0
			})
			if left := policies(func(e watch.Event) bool { return e.Type == watch.Deleted }); left < trusted {
				t.Errorf("policies go at %d, before the webhook is trusted at %d", left, trusted)
			}
		}
	}
}

// overlayNames are the objects of the folder's install as ofOurs names them.
func overlayNames(t *testing.T, folder string) []string {
	t.Helper()
	var names []string
	for _, object := range overlay(t, folder) {
		names = append(names, object.GetKind()+" "+strings.TrimPrefix(object.GetNamespace()+"/"+object.GetName(), "/"))
	}
	return names
}

// clusterScoped are those without a namespace that somebody applied, in order.
func clusterScoped(names []string) []string {
	names = slices.DeleteFunc(names, func(name string) bool { return strings.Contains(name, "/") || strings.HasPrefix(name, "APIService ") })
	slices.Sort(names)
	return names
}

func serves(deployment any) bool {
	return !slices.Contains(deployment.(*appsv1.Deployment).Spec.Template.Spec.Containers[0].Args, "--webhook=false")
}

func rolledOut(deployment any) bool {
	d := deployment.(*appsv1.Deployment)
	return d.Status.ObservedGeneration == d.Generation && d.Status.UpdatedReplicas == *d.Spec.Replicas &&
		d.Status.AvailableReplicas == *d.Spec.Replicas && d.Status.Replicas == *d.Spec.Replicas
}

// playManagers does what the deployment script waits for, until the test ends: it
// reports the operator's pods ready, as a kubelet does, and makes the configuration trust a
// certificate, as a manager does.
func (c *cluster) playManagers(ctx context.Context) {
	state, _, err := certs.Step(certs.State{}, nil, []string{"sfunnel-webhook." + own + ".svc"}, time.Now())
	if err != nil {
		panic(err)
	}
	for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		var pods corev1.PodList
		_ = c.List(ctx, &pods, client.InNamespace(own))
		for i := range pods.Items {
			if pod := &pods.Items[i]; pod.Status.Phase != corev1.PodRunning {
				pod.Status.Phase = corev1.PodRunning
				pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
				_ = c.Status().Update(ctx, pod)
			}
		}
		configuration := &admissionregistrationv1.MutatingWebhookConfiguration{}
		if c.Get(ctx, client.ObjectKey{Name: "sfunnel"}, configuration) == nil && configuration.Webhooks[0].ClientConfig.CABundle == nil {
			configuration.Webhooks[0].ClientConfig.CABundle = state.Trusted()
			_ = c.Update(ctx, configuration)
		}
	}
}

// changes watches the objects of a kind from now on. What it returns is the revision of
// the next change that matches.
func (c *cluster) changes(t *testing.T, list client.ObjectList) func(match func(watch.Event) bool) uint64 {
	t.Helper()
	watcher, err := client.NewWithWatch(c.config, client.Options{Scheme: c.Scheme()})
	must(t, err)
	must(t, c.List(t.Context(), list))
	events, err := watcher.Watch(t.Context(), list, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}})
	must(t, err)
	t.Cleanup(events.Stop)
	return func(match func(watch.Event) bool) uint64 {
		t.Helper()
		for {
			select {
			case event := <-events.ResultChan():
				if object, ok := event.Object.(client.Object); ok && match(event) {
					revision, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
					must(t, err)
					return revision
				}
			case <-time.After(patience):
				t.Fatal("no change matches")
			}
		}
	}
}
