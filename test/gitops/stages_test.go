// SPDX-License-Identifier: Apache-2.0

// Package gitops tests how tools that know nothing of FunnelPolicies judge them
// in each stage of their lives.
package gitops

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
	"github.com/sfunnel-io/funnel-operator/internal/report"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// stage is a moment in a policy's life.
type stage struct {
	name   string
	policy *v1alpha1.FunnelPolicy
	// kstatus and argo are what Flux, kubectl's like and Argo CD are to say.
	kstatus, argo string
	// message begins so in Argo CD.
	message string
}

// life is a policy from creation to deletion.
func life() []stage {
	return []stage{
		{"created, seen by nobody", fresh(), "InProgress", "Progressing", "Waiting for the operator"},
		{"waits for a Service", after(fresh(), missing), "InProgress", "Progressing", "ServiceNotFound: Service shop/web does not exist"},
		{"the ConfigMap can't be written yet", after(fresh(), unwritten(v1alpha1.ReasonApplyFailed)), "InProgress", "Progressing", "ApplyFailed: refused"},
		{"the ConfigMap is another's", after(fresh(), unwritten(v1alpha1.ReasonConfigMapNotOwned)), "Failed", "Degraded", "ConfigMapNotOwned: refused"},
		{"published, no pod yet", after(fresh()), "Current", "Healthy", "New pods get the current rules."},
		{"published, pods run without", after(fresh(), pods(uninjected())), "Current", "Healthy", "PodsNotInjected: "},
		{"published, pods attached", after(fresh(), pods(attached())), "Current", "Healthy", "New pods get the current rules."},
		{"edited, not yet seen", edited(after(fresh(), pods(attached()))), "InProgress", "Progressing", "Waiting for the operator"},
		{"edited, invalid", after(edited(after(fresh())), invalid), "Failed", "Degraded", "Invalid: spec.rules"},
		{"edited, in an older policy's way", after(edited(after(fresh())), conflicting), "Failed", "Degraded", "Conflicted: older"},
		{"edited, mended", after(edited(after(edited(after(fresh())), invalid))), "Current", "Healthy", "New pods get the current rules."},
		{"being deleted", deleted(after(fresh())), "Terminating", "", ""},
	}
}

// fresh is a policy as the schema makes it.
func fresh() *v1alpha1.FunnelPolicy {
	return &v1alpha1.FunnelPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "FunnelPolicy"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Generation: 1},
		Status:     v1alpha1.FunnelPolicyStatus{ObservedGeneration: -1},
	}
}

// after is the policy after the operator looked at it. Without edits all is well
// and there are no pods.
func after(p *v1alpha1.FunnelPolicy, edits ...func(*status.Facts)) *v1alpha1.FunnelPolicy {
	facts := status.Facts{
		Policy:    p,
		Program:   &policy.Program{Digest: "new"},
		ConfigMap: status.ConfigMap{Exists: true, Current: true, Digest: "new"},
		Pods:      status.NewCensus(p.Name, "new", 0),
		Namespace: status.Namespace{Name: p.Namespace, Injection: v1alpha1.InjectionEnabled},
	}
	for _, edit := range edits {
		edit(&facts)
	}
	p = p.DeepCopy()
	p.Status = status.Of(facts)
	return p
}

func missing(f *status.Facts) {
	f.ConfigMap = status.ConfigMap{}
	f.Program.Unresolved = []policy.Unresolved{{Reason: v1alpha1.ReasonServiceNotFound, Message: "Service shop/web does not exist"}}
}

func unwritten(reason string) func(*status.Facts) {
	return func(f *status.Facts) {
		f.ConfigMap = status.ConfigMap{Failure: status.Failure{Reason: reason, Message: "refused"}}
	}
}

func invalid(f *status.Facts) {
	f.ConfigMap.Current = false
	f.Faults = field.ErrorList{field.Required(field.NewPath("spec", "rules"), "give at least one rule")}
}

func conflicting(f *status.Facts) {
	f.ConfigMap.Current = false
	f.Conflicts = []policy.Conflict{{With: "older", Message: "older"}}
}

func pods(all ...*corev1.Pod) func(*status.Facts) {
	return func(f *status.Facts) {
		for _, pod := range all {
			f.Pods.Add(pod)
		}
	}
}

func uninjected() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a"}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
}

// attached is a pod that reported success with the current rules.
func attached() *corev1.Pod {
	pod := uninjected()
	pod.Labels = map[string]string{v1alpha1.LabelInjected: v1alpha1.InjectedTrue}
	pod.Spec.InitContainers = []corev1.Container{{Name: v1alpha1.InitContainerName}}
	text := report.Report{Result: report.Attached, Digests: map[string]string{"web": "new"}}.Marshal(0)
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{
		Name:  v1alpha1.InitContainerName,
		State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: string(text)}},
	}}
	return pod
}

// edited is the policy after its spec changed.
func edited(p *v1alpha1.FunnelPolicy) *v1alpha1.FunnelPolicy {
	p = p.DeepCopy()
	p.Generation++
	return p
}

func deleted(p *v1alpha1.FunnelPolicy) *v1alpha1.FunnelPolicy {
	p = p.DeepCopy()
	p.DeletionTimestamp = &metav1.Time{Time: time.Unix(0, 0)}
	return p
}

// object is the policy as tools read it.
func object(t *testing.T, p *v1alpha1.FunnelPolicy) *unstructured.Unstructured {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(p)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: content}
}
