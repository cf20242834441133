// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/managertest"
	"github.com/sfunnel-io/funnel-operator/internal/report"
)

// The life of a release: installed, used by applications' charts, upgraded, removed
// and installed again, with Kubernetes' own controller of Deployments at work.
func TestHelmOnARealServer(t *testing.T) {
	c := empty(t, withoutDefinition)
	operator := func(verb string, more ...string) {
		t.Helper()
		args := append([]string{verb, "sfunnel", chart, "--namespace", own, "--wait=false"}, append(images(), more...)...)
		mustHelm(t, c.admin, args...)
	}
	operator("install", "--create-namespace")
	c.install = template(t)
	must(t, managertest.LeadHere(t.Context(), c))
	c.controllers(t)
	m := c.run(t)
	c.askAt(t, m)
	eventually(t, "the manager is ready", m.Ready)

	t.Run("an application's chart ends attached", func(t *testing.T) {
		namespace := c.optedIn(t)
		mustHelm(t, c.admin, "install", "shop", shopChart, "--namespace", namespace, "--wait=false")
		c.endsAttached(t, namespace)
	})
	t.Run("also when its policy comes long after its pods", func(t *testing.T) {
		namespace := c.optedIn(t)
		mustHelm(t, c.admin, "install", "shop", shopChart, "--namespace", namespace, "--wait=false", "--set", "policy=false")
		c.podsAreDenied(t, namespace)
		before := c.deployment(t, namespace, "web")
		mustHelm(t, c.admin, "upgrade", "shop", shopChart, "--namespace", namespace, "--wait=false", "--set", "policy=true")
		c.endsAttached(t, namespace)
		if after := c.deployment(t, namespace, "web"); after.Generation != before.Generation {
			t.Errorf("the Deployment went from generation %d to %d", before.Generation, after.Generation)
		}
	})
	t.Run("an upgrade of the operator touches no workload", func(t *testing.T) {
		untouched := c.snapshot(t)
		operator("upgrade", "--set", "replicas=3")
		if got := c.deployment(t, own, "sfunnel-manager").Spec.Replicas; *got != 3 {
			t.Errorf("%d replicas", *got)
		}
		untouched(t)
	})
	m.stop(t)
	t.Run("removed, it leaves workloads and policies", func(t *testing.T) {
		untouched := c.snapshot(t)
		mustHelm(t, c.admin, "uninstall", "sfunnel", "--namespace", own)
		untouched(t)
		c.isGone(t, &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "sfunnel"}})
		c.isGone(t, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: own, Name: "sfunnel-manager"}})
		must(t, c.Get(t.Context(), client.ObjectKey{Name: "funnelpolicies.sfunnel.io"}, &apiextensionsv1.CustomResourceDefinition{}))
		pod := webPod(c.optedIn(t))
		must(t, c.Create(t.Context(), pod))
		if len(pod.Spec.InitContainers) > 0 {
			t.Errorf("init containers: %+v", pod.Spec.InitContainers)
		}
	})
	t.Run("it can be installed again", func(*testing.T) { operator("install") })
}

// optedIn is a new namespace.
func (c *cluster) optedIn(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "shop-",
		Labels:       map[string]string{v1alpha1.LabelInjection: v1alpha1.InjectionEnabled},
	}}
	must(t, c.Create(t.Context(), namespace))
	return namespace.Name
}

// podsAreDenied waits until the Deployment's controller was refused a pod.
func (c *cluster) podsAreDenied(t *testing.T, namespace string) {
	t.Helper()
	eventually(t, "the ReplicaSet is refused its pods", func(ctx context.Context) error {
		var sets appsv1.ReplicaSetList
		must(t, c.List(ctx, &sets, client.InNamespace(namespace)))
		for _, set := range sets.Items {
			for _, condition := range set.Status.Conditions {
				if condition.Type == appsv1.ReplicaSetReplicaFailure && strings.Contains(condition.Message, "no FunnelPolicy of the namespace selects the pod yet") {
					return nil
				}
			}
		}
		return fmt.Errorf("ReplicaSets: %+v", sets.Items)
	})
}

// endsAttached waits for the application's pods, does the kubelet's part, and waits
// until the policy says that they are attached.
func (c *cluster) endsAttached(t *testing.T, namespace string) {
	t.Helper()
	policy := &v1alpha1.FunnelPolicy{}
	eventually(t, "the policy is attached", func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "web"}, policy); err != nil {
			return err
		}
		c.runPods(t, namespace, policy)
		attached := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionAttached)
		if attached == nil || attached.Status != metav1.ConditionTrue || policy.Status.Pods.Attached != 2 {
			return fmt.Errorf("pods %+v, conditions %+v", policy.Status.Pods, policy.Status.Conditions)
		}
		return nil
	})
}

// runPods does what the kubelet does with the pods whose ConfigMap exists, as far as
// the API server sees it: the init container ends with its report.
func (c *cluster) runPods(t *testing.T, namespace string, policy *v1alpha1.FunnelPolicy) {
	t.Helper()
	var rules corev1.ConfigMap
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: v1alpha1.ConfigMapName(policy.Name)}, &rules); apierrors.IsNotFound(err) {
		return
	}
	var pods corev1.PodList
	must(t, c.List(t.Context(), &pods, client.InNamespace(namespace)))
	for i := range pods.Items {
		pod := &pods.Items[i]
		if len(mounted(pod)) != 1 {
			t.Fatalf("%s runs without rules: %+v", pod.Name, pod.Spec)
		}
		line := report.Report{Result: report.Attached, Digests: map[string]string{policy.Name: policy.Status.RulesDigest}}.Marshal(0)
		pod.Status.Phase = corev1.PodRunning
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{
			Name:  v1alpha1.InitContainerName,
			Image: pod.Spec.InitContainers[0].Image,
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: string(line)}},
		}}
		must(t, c.Status().Update(t.Context(), pod))
	}
}

func (c *cluster) deployment(t *testing.T, namespace, name string) *appsv1.Deployment {
	t.Helper()
	deployment := &appsv1.Deployment{}
	must(t, c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, deployment))
	return deployment
}

// snapshot remembers all workloads outside the operator's namespace, and all rules; what it returns fails when something of that changed.
func (c *cluster) snapshot(t *testing.T) (untouched func(*testing.T)) {
	t.Helper()
	take := func(t *testing.T) map[string]string {
		t.Helper()
		seen := map[string]string{}
		var pods corev1.PodList
		must(t, c.List(t.Context(), &pods))
		for _, pod := range pods.Items {
			if pod.Namespace == own {
				continue
			}
			seen["Pod "+pod.Namespace+"/"+pod.Name] = fmt.Sprint(pod.UID, pod.DeletionTimestamp, asText(t, pod.Spec))
		}
		var deployments appsv1.DeploymentList
		must(t, c.List(t.Context(), &deployments))
		for _, d := range deployments.Items {
			if d.Namespace != own {
				seen["Deployment "+d.Namespace+"/"+d.Name] = fmt.Sprint(d.UID, d.Generation)
			}
		}
		var maps corev1.ConfigMapList
		must(t, c.List(t.Context(), &maps, client.HasLabels{v1alpha1.LabelPolicy}))
		for _, m := range maps.Items {
			seen["ConfigMap "+m.Namespace+"/"+m.Name] = fmt.Sprint(m.UID, m.ResourceVersion, asText(t, m.Data))
		}
		var policies v1alpha1.FunnelPolicyList
		must(t, c.List(t.Context(), &policies))
		for _, p := range policies.Items {
			seen["FunnelPolicy "+p.Namespace+"/"+p.Name] = fmt.Sprint(p.UID, p.Generation, p.DeletionTimestamp, p.Status.RulesDigest)
		}
		return seen
	}
	before := take(t)
	if len(before) < 4 {
		t.Fatalf("there is too little to be left untouched: %v", before)
	}
	return func(t *testing.T) {
		t.Helper()
		after := take(t)
		for name, was := range before {
			if after[name] != was {
				t.Errorf("%s was changed:\nbefore: %s\nafter: %s", name, was, after[name])
			}
		}
	}
}

func (c *cluster) isGone(t *testing.T, object client.Object) {
	t.Helper()
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(object), object); !apierrors.IsNotFound(err) {
		t.Errorf("%T %s is still there: %v", object, object.GetName(), err)
	}
}
