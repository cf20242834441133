// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// What each overlay leaves out of the install (-) and adds to it (+).
func TestOverlays(t *testing.T) {
	without := []string{"-MutatingWebhookConfiguration sfunnel", "-sfunnel-system/Service sfunnel-webhook"}
	rows := map[string][]string{
		"ha":         nil,
		"no-webhook": without,
		"in-place":   {"+ClusterRole sfunnel-manager-in-place", "+ClusterRoleBinding sfunnel-manager-in-place"},
		"monitoring": {
			"+ClusterRoleBinding sfunnel-metrics-reader", "+sfunnel-system/ConfigMap sfunnel-dashboard",
			"+sfunnel-system/PrometheusRule sfunnel", "+sfunnel-system/ServiceMonitor sfunnel",
			"+sfunnel-system/Role sfunnel-metrics-targets", "+sfunnel-system/RoleBinding sfunnel-metrics-targets",
		},
		"admission-policy": slices.Concat(without, []string{
			"+MutatingAdmissionPolicy sfunnel", "+MutatingAdmissionPolicyBinding sfunnel",
			"+ValidatingAdmissionPolicy sfunnel-denials", "+ValidatingAdmissionPolicyBinding sfunnel-denials",
			"+ValidatingAdmissionPolicy sfunnel-required", "+ValidatingAdmissionPolicyBinding sfunnel-required",
		}),
	}
	for name, want := range rows {
		t.Run(name, func(t *testing.T) {
			got := difference(install(t).names(), overlay(t, "overlays/"+name).names())
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			for _, object := range overlay(t, "overlays/"+name) {
				if object.GetLabels()["app.kubernetes.io/part-of"] != "sfunnel" {
					t.Errorf("%s %s has not the label that its removal asks for", object.GetKind(), object.GetName())
				}
			}
			for _, object := range render(t, "overlays/"+name, []string{"set", "namespace", "elsewhere"}) {
				if strings.Contains(fmt.Sprint(object.Object), own) {
					t.Errorf("%s %s still names %s", object.GetKind(), object.GetName(), own)
				}
			}
		})
	}
}

// difference lists what went (-) and what came (+).
func difference(before, after []string) []string {
	var list []string
	for _, name := range before {
		if !slices.Contains(after, name) {
			list = append(list, "-"+name)
		}
	}
	for _, name := range after {
		if !slices.Contains(before, name) {
			list = append(list, "+"+name)
		}
	}
	slices.Sort(list)
	return list
}

func TestHAKeepsTwoOfThree(t *testing.T) {
	all := overlay(t, "overlays/ha")
	var manager appsv1.Deployment
	var budget policyv1.PodDisruptionBudget
	all.into(t, "Deployment", "sfunnel-manager", &manager)
	all.into(t, "PodDisruptionBudget", "sfunnel-manager", &budget)
	if *manager.Spec.Replicas != 3 || budget.Spec.MinAvailable.IntValue() != 2 {
		t.Errorf("%d replicas, of which %v stay", *manager.Spec.Replicas, budget.Spec.MinAvailable)
	}
	var keys []string
	for _, spread := range manager.Spec.Template.Spec.TopologySpreadConstraints {
		keys = append(keys, spread.TopologyKey)
		mustSelect(t, spread.TopologyKey, spread.LabelSelector, manager.Spec.Template.Labels)
	}
	if diff := cmp.Diff([]string{"kubernetes.io/hostname", "topology.kubernetes.io/zone"}, keys); diff != "" {
		t.Error(diff)
	}
	for _, arg := range manager.Spec.Template.Spec.Containers[0].Args {
		if strings.HasPrefix(arg, "--leader-elect") {
			t.Errorf("the election is set by %s; it is on by default", arg)
		}
	}
}

func TestWithoutWebhookItsPermissionIsGone(t *testing.T) {
	var before, after rbacv1.ClusterRole
	install(t).into(t, "ClusterRole", "sfunnel-manager", &before)
	overlay(t, "overlays/no-webhook").into(t, "ClusterRole", "sfunnel-manager", &after)
	all := func(string) bool { return true }
	for _, change := range difference(permissions("cluster", before.Rules, all), permissions("cluster", after.Rules, all)) {
		if !strings.HasPrefix(change, "-") || !strings.HasSuffix(change, "admissionregistration.k8s.io/mutatingwebhookconfigurations[sfunnel]") {
			t.Error(change)
		}
	}
	if len(after.Rules) != len(before.Rules)-1 {
		t.Errorf("%d rules of %d are left", len(after.Rules), len(before.Rules))
	}
}

// The manager is told who injects, since it can't see admission policies.
func TestOverlaysTellTheManagerWhoInjects(t *testing.T) {
	for name, want := range map[string][]string{
		"ha": nil, "no-webhook": {"--webhook=false"}, "admission-policy": {"--webhook=false", "--admission-policies"},
	} {
		var manager appsv1.Deployment
		overlay(t, "overlays/"+name).into(t, "Deployment", "sfunnel-manager", &manager)
		got := slices.DeleteFunc(manager.Spec.Template.Spec.Containers[0].Args, func(arg string) bool { return strings.Contains(arg, "attacher") })
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// The policies are asked about the pods that the webhook is asked about.
func TestAdmissionPoliciesMatchWhatTheWebhookMatches(t *testing.T) {
	var webhook admissionregistrationv1.MutatingWebhookConfiguration
	install(t).into(t, "MutatingWebhookConfiguration", "sfunnel", &webhook)
	hook := webhook.Webhooks[0]
	all := overlay(t, "overlays/admission-policy")
	var injects admissionregistrationv1.MutatingAdmissionPolicy
	all.into(t, "MutatingAdmissionPolicy", "sfunnel", &injects)
	matches := map[string]*admissionregistrationv1.MatchResources{"sfunnel": injects.Spec.MatchConstraints}
	for _, name := range []string{"sfunnel-denials", "sfunnel-required"} {
		var denies admissionregistrationv1.ValidatingAdmissionPolicy
		all.into(t, "ValidatingAdmissionPolicy", name, &denies)
		matches[name] = denies.Spec.MatchConstraints
	}
	for name, match := range matches {
		if diff := cmp.Diff(hook.NamespaceSelector, match.NamespaceSelector); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(hook.Rules[0].Rule.Resources, match.ResourceRules[0].Resources); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(hook.Rules[0].Operations, match.ResourceRules[0].Operations); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if name == "sfunnel-required" {
			mustSelect(t, name, match.ObjectSelector, map[string]string{"sfunnel.io/inject": "required"})
			mustNotSelect(t, name, match.ObjectSelector, nil)
			continue
		}
		if diff := cmp.Diff(hook.ObjectSelector, match.ObjectSelector); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, v := range injects.Spec.Variables {
		if v.Name == "image" && v.Expression != "'"+attacherImage+"'" {
			t.Errorf("the image is %s", v.Expression)
		}
	}
}
