// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// longestNote is what the API server takes as the note of an Event, in bytes.
const longestNote = 1024

// Event is something that happened to a policy and that a person should know.
type Event struct {
	// Type is corev1.EventTypeNormal or corev1.EventTypeWarning.
	Type string
	// Condition is the type of the condition that changed: two may for one reason.
	Condition string
	// Reason is that of the condition.
	Reason string
	// Note is the condition's message.
	Note string
}

// Events tells what happened between two statuses of one policy: rules that
// were published, conditions that turned bad, and those that turned good again.
// Equal statuses have none. Whoever asks remembers, as again, that all pods have attached
// the rules of after before: a pod that is replaced is no news then.
func Events(strategy v1alpha1.UpdateStrategy, before, after v1alpha1.FunnelPolicyStatus, again bool) []Event {
	var events []Event
	if after.RulesDigest != before.RulesDigest && after.RulesDigest != "" {
		events = append(events, Event{corev1.EventTypeNormal, v1alpha1.ConditionProgrammed, v1alpha1.ReasonProgrammed,
			fmt.Sprintf("ConfigMap %s holds new rules. %s", after.ConfigMap, runningPods(strategy))})
	}
	for _, kind := range announced {
		events = append(events, turned(kind, before.Conditions, after.Conditions, again)...)
	}
	return events
}

func runningPods(strategy v1alpha1.UpdateStrategy) string {
	if strategy == v1alpha1.UpdateInPlace {
		return "Running pods are brought them in place."
	}
	return "Running pods keep theirs until they are replaced."
}

// announced are the conditions whose turns are told, in this order. Ready and
// Stalled repeat others, and Programmed is told by the digest while it is True.
var announced = []string{
	v1alpha1.ConditionAccepted,
	v1alpha1.ConditionResolvedRefs,
	v1alpha1.ConditionProgrammed,
	v1alpha1.ConditionSessionAffinity,
	v1alpha1.ConditionSourceIPPreserved,
	v1alpha1.ConditionAttached,
	v1alpha1.ConditionCoverage,
	v1alpha1.ConditionMTUWarning,
	v1alpha1.ConditionWarnings,
}

// turned tells of one condition. Bad news are told when the reason is new, good
// ones when they end bad news; that all pods attached is told of new rules, too, that there
// are no warnings never.
func turned(kind string, before, after []metav1.Condition, again bool) []Event {
	was, is := meta.FindStatusCondition(before, kind), meta.FindStatusCondition(after, kind)
	if is == nil || was != nil && was.Status == is.Status && was.Reason == is.Reason {
		return nil
	}
	event := Event{corev1.EventTypeNormal, kind, is.Reason, cut(is.Message, longestNote)}
	switch {
	case bad(is):
		event.Type = corev1.EventTypeWarning
	case is.Reason == v1alpha1.ReasonPodsRefreshing: // that it began
	case is.Status == metav1.ConditionUnknown, inProgress(is):
		return nil
	case kind == v1alpha1.ConditionProgrammed, kind == v1alpha1.ConditionWarnings:
		return nil
	case kind == v1alpha1.ConditionAttached && !again:
	case was == nil || !bad(was):
		return nil
	}
	return []Event{event}
}

// bad reports whether somebody should act.
func bad(c *metav1.Condition) bool {
	if c.Type == v1alpha1.ConditionMTUWarning || c.Type == v1alpha1.ConditionWarnings {
		return c.Status == metav1.ConditionTrue
	}
	return c.Status == metav1.ConditionFalse && !inProgress(c)
}

// inProgress reports whether time alone mends it, or another condition tells why.
func inProgress(c *metav1.Condition) bool {
	switch c.Reason {
	case v1alpha1.ReasonPodsPending, v1alpha1.ReasonPodsRefreshing, v1alpha1.ReasonAddressPending, v1alpha1.ReasonNeverProgrammed, v1alpha1.ReasonBackendNotAttached:
		return true
	}
	return false
}
