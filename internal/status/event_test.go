// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// at is a status with conditions given as "Type=Status/Reason".
func at(digest string, conditions ...string) v1alpha1.FunnelPolicyStatus {
	s := v1alpha1.FunnelPolicyStatus{RulesDigest: digest, ConfigMap: "web-funnel"}
	for _, text := range conditions {
		c := metav1.Condition{Message: "m"}
		var rest string
		if _, err := fmt.Sscanf(text, "%s %s %s", &c.Type, &rest, &c.Reason); err != nil {
			panic(err)
		}
		c.Status = metav1.ConditionStatus(rest)
		s.Conditions = append(s.Conditions, c)
	}
	return s
}

func TestEvents(t *testing.T) {
	published := Event{"Normal", "Programmed", "Programmed", "ConfigMap web-funnel holds new rules. Running pods keep theirs until they are replaced."}
	warning := func(condition, reason string) Event { return Event{"Warning", condition, reason, "m"} }
	normal := func(condition, reason string) Event { return Event{"Normal", condition, reason, "m"} }
	for _, test := range []struct {
		name          string
		before, after v1alpha1.FunnelPolicyStatus
		want          []Event
	}{
		{"nothing", at("a", "Accepted True Accepted"), at("a", "Accepted True Accepted"), nil},
		{"first rules", at(""), at("a", "Accepted True Accepted", "Programmed True Programmed"), []Event{published}},
		{"new rules", at("a", "Programmed True Programmed"), at("b", "Programmed True Programmed"), []Event{published}},
		{"invalid from the start", at(""), at("", "Accepted False Invalid", "Programmed False NeverProgrammed"), []Event{warning("Accepted", "Invalid")}},
		{"an invalid edit", at("a", "Accepted True Accepted", "Programmed True Programmed"), at("a", "Accepted False Invalid", "Programmed False StaleRules"), []Event{warning("Accepted", "Invalid"), warning("Programmed", "StaleRules")}},
		{"still invalid", at("a", "Accepted False Invalid"), at("a", "Accepted False Invalid"), nil},
		{"invalid, then conflicting", at("a", "Accepted False Invalid"), at("a", "Accepted False Conflicted"), []Event{warning("Accepted", "Conflicted")}},
		{"mended", at("a", "Accepted False Invalid", "Programmed False StaleRules"), at("a", "Accepted True Accepted", "Programmed True Programmed"), []Event{normal("Accepted", "Accepted")}},
		{"waiting for an address is not bad", at(""), at("", "ResolvedRefs False AddressPending", "Programmed False NeverProgrammed"), nil},
		{"a Service is gone", at(""), at("", "ResolvedRefs False ServiceNotFound"), []Event{warning("ResolvedRefs", "ServiceNotFound")}},
		{"pods start", at("a", "Attached Unknown NoMatchingPods"), at("a", "Attached False PodsPending"), nil},
		{"pods attached", at("a", "Attached False PodsPending"), at("a", "Attached True Attached"), []Event{normal("Attached", "Attached")}},
		{"pods failed", at("a", "Attached False PodsPending"), at("a", "Attached False AttachFailed"), []Event{warning("Attached", "AttachFailed")}},
		{"an update in place begins", at("a", "Attached True Attached"), at("a", "Attached False PodsRefreshing"), []Event{normal("Attached", "PodsRefreshing")}},
		{"it goes on", at("a", "Attached False PodsRefreshing"), at("a", "Attached False PodsRefreshing"), nil},
		{"it stops", at("a", "Attached False PodsRefreshing"), at("a", "Attached False RefreshFailed"), []Event{warning("Attached", "RefreshFailed")}},
		{"it ends", at("a", "Attached False PodsRefreshing"), at("a", "Attached True Attached"), []Event{normal("Attached", "Attached")}},
		{"pods gone", at("a", "Attached True Attached"), at("a", "Attached Unknown NoMatchingPods"), nil},
		{"no room", at("a", "MTUWarning Unknown NoReports"), at("a", "MTUWarning True InsufficientHeadroom"), []Event{warning("MTUWarning", "InsufficientHeadroom")}},
		{"room from the start", at("a", "MTUWarning Unknown NoReports"), at("a", "MTUWarning False HeadroomSufficient"), nil},
		{"room again", at("a", "MTUWarning True InsufficientHeadroom"), at("a", "MTUWarning False HeadroomSufficient"), []Event{normal("MTUWarning", "HeadroomSufficient")}},
		{"a warning", at("a", "Warnings False NoWarnings"), at("a", "Warnings True ShadowedRules"), []Event{warning("Warnings", "ShadowedRules")}},
		{"no warning any more", at("a", "Warnings True ShadowedRules"), at("a", "Warnings False NoWarnings"), nil},
		{"both ConfigMaps refused", at(""), at("", "Programmed False ApplyFailed", "Warnings True ApplyFailed"), []Event{warning("Programmed", "ApplyFailed"), warning("Warnings", "ApplyFailed")}},
		{"Ready and Stalled repeat others", at("a", "Ready True Ready"), at("a", "Ready False Invalid", "Stalled True Invalid"), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Events(v1alpha1.UpdateOnRecreate, test.before, test.after, false)); diff != "" {
				t.Error(diff)
			}
		})
	}
	attached := at("a", "Attached True Attached")
	for reason, want := range map[string][]Event{
		"PodsPending":    nil,
		"PodsRefreshing": nil,
		"AttachFailed":   {normal("Attached", "Attached")},
		"PodsOutdated":   {normal("Attached", "Attached")},
	} {
		if diff := cmp.Diff(want, Events(v1alpha1.UpdateOnRecreate, at("a", "Attached False "+reason), attached, true)); diff != "" {
			t.Errorf("all pods had attached, then %s:\n%s", reason, diff)
		}
	}
	inPlace := Events(v1alpha1.UpdateInPlace, at("a"), at("b"), false)
	if want := []Event{{"Normal", "Programmed", "Programmed", "ConfigMap web-funnel holds new rules. Running pods are brought them in place."}}; cmp.Diff(want, inPlace) != "" {
		t.Errorf("got %v", inPlace)
	}
}
