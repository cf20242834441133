// SPDX-License-Identifier: Apache-2.0

package status

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
)

func ready(pods ...string) discoveryv1.EndpointSlice {
	var s discoveryv1.EndpointSlice
	for _, name := range pods {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: name}})
	}
	return s
}

func TestCoverage(t *testing.T) {
	unready := ready("outdated")
	unready.Endpoints[0].Conditions.Ready = ptr.To(false)
	elsewhere := ready("attached")
	elsewhere.Endpoints[0].TargetRef.Namespace, elsewhere.Endpoints[0].Addresses = "other", []string{"192.0.2.2"}
	node := ready("attached")
	node.Endpoints[0].TargetRef.Kind, node.Endpoints[0].Addresses = "Node", []string{"192.0.2.3"}
	foreign := discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}}}}
	pods := map[string]*corev1.Pod{
		"attached": pod("attached", current), "other": pod("other", current), "outdated": pod("outdated", outdated),
		"failed": pod("failed", failing("x")), "out": pod("out", label("sfunnel.io/inject", "false")), "leaving": pod("leaving", terminating),
	}
	const hurt = "Funneled connections that reach these are refused, and pushed packets lost: replace them by pods with the rules (Attached has the commands), or keep them out of the Service."
	for _, test := range []struct {
		name   string
		slices []discoveryv1.EndpointSlice
		want   verdict
	}{
		{"none", nil, unknown("NoEndpoints", "Service shop/web has no ready endpoint yet.")},
		{"none that is ready", []discoveryv1.EndpointSlice{unready}, unknown("NoEndpoints", "Service shop/web has no ready endpoint yet.")},
		{"all", []discoveryv1.EndpointSlice{ready("attached"), ready("other")}, yes("EndpointsCovered", "All of 2 ready endpoints of Service shop/web run the current rules.")},
		{"one in slices of both families", []discoveryv1.EndpointSlice{ready("attached"), ready("attached")}, yes("EndpointsCovered", "All of 1 ready endpoint of Service shop/web run the current rules.")},
		{"one that leaves", []discoveryv1.EndpointSlice{ready("attached", "leaving")}, yes("EndpointsCovered", "All of 2 ready endpoints of Service shop/web run the current rules.")},
		{"one of an older rollout", []discoveryv1.EndpointSlice{ready("attached", "outdated")}, no("EndpointsNotCovered", "1 of 2 ready endpoints of Service shop/web don't run its current rules: outdated (outdated). "+hurt)},
		{"that only have a pod's name", []discoveryv1.EndpointSlice{ready("attached"), elsewhere, node}, no("EndpointsNotCovered",
			"2 of 3 ready endpoints of Service shop/web don't run its current rules: 192.0.2.2 (no pod of this namespace), 192.0.2.3 (no pod). "+hurt)},
		{"of each kind", []discoveryv1.EndpointSlice{ready("failed", "out", "unknown"), foreign}, no("EndpointsNotCovered",
			"4 of 4 ready endpoints of Service shop/web don't run its current rules: 192.0.2.1 (no pod), failed (failed), out (optedOut) and 1 more. "+hurt)},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := Covers(types.NamespacedName{Namespace: testNamespace, Name: "web"}, test.slices, testPolicy, currentDigest, func(name string) *corev1.Pod { return pods[name] })
			if diff := cmp.Diff(test.want, c.covered(), cmp.AllowUnexported(verdict{})); diff != "" {
				t.Error(diff)
			}
			if c.Complete() != test.want.isTrue() {
				t.Errorf("complete: %v", c.Complete())
			}
		})
	}
}

// TestEndpointsTellOfPodsThatWereNotInjected: neither of those that opted out nor of others'.
func TestEndpointsTellOfPodsThatWereNotInjected(t *testing.T) {
	pods := map[string]*corev1.Pod{"attached": pod("attached", current), "out": pod("out", label("sfunnel.io/inject", "false")), "half": pod("half", label(v1alpha1.LabelInjected, "true"))}
	foreign := discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}}}}
	c := Covers(types.NamespacedName{Namespace: testNamespace, Name: "web"}, []discoveryv1.EndpointSlice{ready("attached", "out", "half", "unknown"), ready("unknown"), foreign},
		testPolicy, currentDigest, func(name string) *corev1.Pod { return pods[name] })
	if diff := cmp.Diff([]string{"half", "unknown"}, c.NotInjected); diff != "" {
		t.Error(diff)
	}
}

// TestEndpointsThatEndAreLookedAt: with the rules they harm nobody.
func TestEndpointsThatEndAreLookedAt(t *testing.T) {
	pods := map[string]*corev1.Pod{
		"attached": pod("attached", current), "with": pod("with", current, terminating), "outdated": pod("outdated", outdated, terminating),
	}
	for name, want := range map[string]bool{"with": false, "outdated": true, "uninjected": true} {
		ending := ready(name, name)
		for i := range ending.Endpoints {
			ending.Endpoints[i].Conditions = discoveryv1.EndpointConditions{Ready: ptr.To(false), Terminating: ptr.To(true)}
		}
		c := Covers(types.NamespacedName{Namespace: testNamespace, Name: "web"}, []discoveryv1.EndpointSlice{ready("attached"), ending},
			testPolicy, currentDigest, func(name string) *corev1.Pod { return pods[name] })
		if c.Leaving() != want || !c.Complete() || c.ready != 1 {
			t.Errorf("%s: leaving %v, complete %v, %d ready", name, c.Leaving(), c.Complete(), c.ready)
		}
	}
	if pods["with"].DeletionTimestamp == nil {
		t.Error("the pod was changed")
	}
}

func TestSurroundings(t *testing.T) {
	meshed := func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "istio-proxy"})
	}
	sidecar := func(p *corev1.Pod) {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: "linkerd-proxy"})
	}
	atSocket := func(f *Facts) { f.SocketLoadBalancing = true }
	for _, test := range []struct {
		name  string
		facts Facts
		want  []string
	}{
		{"nothing", published(t), nil},
		{"a mesh", published(t, func(f *Facts) { f.Pods = censusOf(0, pod("a", meshed), pod("b", current, sidecar)) }), []string{"ServiceMesh"}},
		{"balancing at the socket, and no client", published(t, atSocket), nil},
		{"balancing at the socket", published(t, atSocket, func(f *Facts) { f.Policy.Spec.Client = &v1alpha1.Client{} }), []string{"SocketLoadBalancing"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, w := range test.facts.surroundings() {
				got = append(got, w.Reason)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	f := published(t, func(f *Facts) {
		f.Pods = censusOf(0, pod("a", meshed))
		f.Program.Warnings = []policy.Warning{{Reason: "ShadowedRules"}}
	})
	if got := f.warnings().reason; got != "ServiceMesh" {
		t.Errorf("reason %s", got)
	}
}
