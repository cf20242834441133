// SPDX-License-Identifier: Apache-2.0

package status

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/report"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// The policy of the tests is shop/web, and its current digest is "new".
const (
	testNamespace = "shop"
	testPolicy    = "web"
	currentDigest = "new"
)

func webPolicy(edits ...func(*v1alpha1.FunnelPolicy)) *v1alpha1.FunnelPolicy {
	p := &v1alpha1.FunnelPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: testPolicy, Generation: 7},
		Spec:       v1alpha1.FunnelPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
		Status:     v1alpha1.FunnelPolicyStatus{ObservedGeneration: -1},
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

// pod is one of a Deployment "web" that was not injected.
func pod(name string, edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       testNamespace,
			Name:            name,
			Labels:          map[string]string{"app": "web", "pod-template-hash": "5d4f8"},
			OwnerReferences: controlledBy("ReplicaSet", "web-5d4f8"),
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

func controlledBy(kind, name string) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, Controller: &yes}}
}

func owner(kind, name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.OwnerReferences = controlledBy(kind, name) }
}

func bare(p *corev1.Pod) { p.OwnerReferences = nil }

func label(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels[key] = value }
}

func phase(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Phase = phase }
}

func terminating(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }

func hostNetwork(p *corev1.Pod) { p.Spec.HostNetwork = true }

func containerPort(name string, number int32, protocol corev1.Protocol) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Ports: []corev1.ContainerPort{{Name: name, ContainerPort: number, Protocol: protocol}},
		})
	}
}

// injectedPod has the label and the init container, and no status of it yet.
func injectedPod(p *corev1.Pod) {
	p.Labels[v1alpha1.LabelInjected] = v1alpha1.InjectedTrue
	p.Spec.InitContainers = []corev1.Container{{Name: v1alpha1.InitContainerName}}
}

// initStatus is what the kubelet writes of our init container, behind another's.
func initStatus(state, last corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		injectedPod(p)
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{
			{Name: "other", State: ended(1, "not ours")},
			{Name: v1alpha1.InitContainerName, State: state, LastTerminationState: last},
		}
	}
}

func ended(code int32, message string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Message: message}}
}

func waiting(reason string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
}

var (
	none    = corev1.ContainerState{}
	running = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
)

// attachedWith is a report of success with that digest of the test's policy.
func attachedWith(digest string, interfaces ...report.Interface) string {
	return string(report.Report{
		Result: report.Attached, Digests: map[string]string{testPolicy: digest}, Interfaces: interfaces,
	}.Marshal(0))
}

func failedWith(text string) string {
	return string(report.Report{Result: report.Failed, Error: text}.Marshal(0))
}

// reporting is a pod whose init container ended well with the report.
func reporting(message string) func(*corev1.Pod) { return initStatus(ended(0, message), none) }

// current runs the current rules.
var current = reporting(attachedWith(currentDigest))

// outdated runs others.
var outdated = reporting(attachedWith("old"))

// failing could not attach.
func failing(text string) func(*corev1.Pod) {
	return initStatus(waiting("CrashLoopBackOff"), ended(1, failedWith(text)))
}

func mustRules(t *testing.T, text string) rules.RuleSet {
	t.Helper()
	rs, err := rules.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func censusOf(overhead int, pods ...*corev1.Pod) *Census {
	c := NewCensus(testPolicy, currentDigest, overhead)
	for _, p := range pods {
		c.Add(p)
	}
	return c
}
