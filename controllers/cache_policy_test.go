// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// said is a condition that turned in that second.
func said(second int64, kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, ObservedGeneration: 2, LastTransitionTime: metav1.Unix(second, 0), Reason: reason, Message: message}
}

// Statuses are compared with those in the cache: nothing of them may be missing.
func TestCutPolicyKeepsAllInLess(t *testing.T) {
	policy := &v1alpha1.FunnelPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"a": "b"}, Finalizers: []string{"x"}},
		Spec: v1alpha1.FunnelPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Backend:     &v1alpha1.Backend{Service: "web", Encapsulation: v1alpha1.EncapsulationInline},
			MTU:         v1alpha1.MTUReserve,
		},
		Status: v1alpha1.FunnelPolicyStatus{
			ObservedGeneration: 2,
			Conditions: []metav1.Condition{
				said(1, "Accepted", "True", "Accepted", "The spec compiles."),
				said(1<<40, "Programmed", "True", "Programmed", "ConfigMap web-funnel holds the current rules."),
				said(-1, "Theirs", "Unknown", "", ""),
				{},
				said(2, "Warnings", "False", "Many", strings.Repeat("Ω\x00", 4*longestCommon)),
			},
			Services: append(make([]v1alpha1.ServiceStatus, 0, 16), v1alpha1.ServiceStatus{
				Namespace: "shop", Name: "web", Addresses: []string{"10.0.0.1"}, Affinity: "ClientIP", TimeoutSeconds: 1, ExternalTrafficPolicy: "Local", InternalTrafficPolicy: "Cluster",
			}),
		},
	}
	want := policy.DeepCopy()
	want.Labels, want.Finalizers = nil, nil
	for range 2 { // a transform may see an object again
		if _, err := cut(cutPolicy)(policy); err != nil {
			t.Fatal(err)
		}
	}
	if policy.Status.Conditions != nil || cap(policy.Status.Services) > 1 {
		t.Errorf("kept %v, and room for %d Services", policy.Status.Conditions, cap(policy.Status.Services))
	}
	unpackPolicy(policy)
	if diff := cmp.Diff(want, policy); diff != "" {
		t.Error(diff)
	}
	empty := &v1alpha1.FunnelPolicy{}
	if _, err := cut(cutPolicy)(empty); err != nil {
		t.Fatal(err)
	}
	if unpackPolicy(empty); empty.Status.Conditions != nil {
		t.Errorf("no conditions became %v", empty.Status.Conditions)
	}
}

// What is said of all policies is held once.
func TestConditionsOfManyPoliciesTakeLittle(t *testing.T) {
	const many, most = 2000, 400 // bytes of each policy's conditions; decoded ones are more than 1500
	sample := v1alpha1.FunnelPolicyStatus{Conditions: []metav1.Condition{said(1<<30, "Programmed", "True", "Programmed", "ConfigMap %s-funnel holds the current rules.")}}
	for i := range 9 {
		sample.Conditions = append(sample.Conditions, said(1<<30, fmt.Sprint("Condition", i), "True", fmt.Sprint("Reason", i), fmt.Sprint("This is what is true of all policies: ", i)))
	}
	text, err := json.Marshal(sample)
	if err != nil {
		t.Fatal(err)
	}
	held := make([]*v1alpha1.FunnelPolicy, many)
	fill := func(status bool) (each int64) {
		before := heapInUse()
		for i := range held {
			p := &v1alpha1.FunnelPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("policy-%04d", i)}}
			if status {
				if err := json.Unmarshal([]byte(strings.ReplaceAll(string(text), "%s", p.Name)), &p.Status); err != nil {
					t.Fatal(err)
				}
			}
			cutPolicy(p)
			held[i] = p
		}
		each = (heapInUse() - before) / many
		runtime.KeepAlive(held)
		clear(held)
		return each
	}
	without := fill(false)
	if each := fill(true) - without; each > most {
		t.Errorf("%d bytes of each", each)
	}
}

func TestNumberedTextsAreFew(t *testing.T) {
	var n numbered
	first := n.number("first")
	if first == 0 || n.number("first") != first || n.all()[first-1] != "first" {
		t.Errorf("the first is number %d of %q", first, n.all())
	}
	if number := n.number(strings.Repeat("x", longestCommon+1)); number != 0 {
		t.Errorf("a long text has number %d", number)
	}
	for i := range 2 * mostCommon {
		n.number(fmt.Sprint(i))
	}
	if len(n.all()) != mostCommon || n.number("first") != first || n.number("new") != 0 {
		t.Errorf("%d texts, the first is number %d", len(n.all()), n.number("first"))
	}
}
