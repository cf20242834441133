// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
)

// questions are the conditions in the order in which they are to be solved, each
// with the status that is bad. Ready, Reconciling and Stalled repeat others.
var questions = []struct {
	kind string
	bad  metav1.ConditionStatus
}{
	{v1alpha1.ConditionAccepted, metav1.ConditionFalse},
	{v1alpha1.ConditionResolvedRefs, metav1.ConditionFalse},
	{v1alpha1.ConditionProgrammed, metav1.ConditionFalse},
	{v1alpha1.ConditionSessionAffinity, metav1.ConditionFalse},
	{v1alpha1.ConditionAttached, metav1.ConditionFalse},
	{v1alpha1.ConditionCoverage, metav1.ConditionFalse},
	{v1alpha1.ConditionMTUWarning, metav1.ConditionTrue},
	{v1alpha1.ConditionSourceIPPreserved, metav1.ConditionFalse},
	{v1alpha1.ConditionWarnings, metav1.ConditionTrue},
}

// finding is what is wrong with a policy and what to do next.
type finding struct {
	Namespace          string                   `json:"namespace"`
	Name               string                   `json:"name"`
	Generation         int64                    `json:"generation"`
	ObservedGeneration int64                    `json:"observedGeneration"`
	Pods               v1alpha1.PodCounts       `json:"pods"`
	Services           []v1alpha1.ServiceStatus `json:"services,omitempty"`
	// Wrong are the conditions that are not as they should be, in the order of questions.
	Wrong []metav1.Condition `json:"wrong,omitempty"`
	// Next is missing when nothing is wrong.
	Next string `json:"next,omitempty"`
}

// look finds what is wrong with a policy.
func look(p *v1alpha1.FunnelPolicy) finding {
	f := finding{
		Namespace: p.Namespace, Name: p.Name,
		Generation: p.Generation, ObservedGeneration: p.Status.ObservedGeneration,
		Pods: p.Status.Pods, Services: p.Status.Services,
	}
	if !f.seen() {
		f.Next = "when it stays so: kubectl get deployments -A -l app.kubernetes.io/name=sfunnel"
		return f
	}
	for _, q := range questions {
		c := meta.FindStatusCondition(p.Status.Conditions, q.kind)
		if c == nil || c.Status != q.bad {
			continue
		}
		if f.Next == "" {
			f.Next = advice(p, c)
		}
		f.Wrong = append(f.Wrong, *c)
	}
	return f
}

// seen reports whether the operator has looked at the policy as it is.
func (f finding) seen() bool { return f.ObservedGeneration >= f.Generation }

// String is the screen.
func (f finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "FunnelPolicy %s/%s\n", f.Namespace, f.Name)
	fmt.Fprintf(&b, "  pods: %s\n", pods(f.Pods))
	for _, s := range f.Services {
		fmt.Fprintf(&b, "  Service %s/%s: %s, affinity %s\n", s.Namespace, s.Name, addresses(s.Addresses), affinity(s))
	}
	if !f.seen() {
		fmt.Fprintf(&b, "  not looked at yet: the operator has seen generation %d of %d\n", f.ObservedGeneration, f.Generation)
	}
	for _, c := range f.Wrong {
		fmt.Fprintf(&b, "  %s=%s, %s\n    %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	if f.Next == "" {
		fmt.Fprintln(&b, "  nothing is wrong")
		return b.String()
	}
	fmt.Fprintf(&b, "Next: %s\n", f.Next)
	return b.String()
}

func pods(c v1alpha1.PodCounts) string {
	parts := []string{fmt.Sprintf("%d of %d run the current rules", c.Attached, c.Matched)}
	for _, kind := range []struct {
		name  string
		count int32
	}{{"pending", c.Pending}, {"outdated", c.Outdated}, {"not injected", c.Missing}, {"failed", c.Failed}, {"opted out", c.OptedOut}} {
		if kind.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", kind.count, kind.name))
		}
	}
	return strings.Join(parts, ", ")
}

func addresses(list []string) string {
	if len(list) == 0 {
		return "not named by the rules"
	}
	return strings.Join(list, ", ")
}

func affinity(s v1alpha1.ServiceStatus) string {
	if s.TimeoutSeconds == 0 {
		return s.Affinity
	}
	return fmt.Sprintf("%s for %d s", s.Affinity, s.TimeoutSeconds)
}

// command is what conditions tell people to run.
var command = regexp.MustCompile(`Run: (.+?)\.(?: |$)`)

// advice is the next command for a condition: its own, or one that shows more. What a
// message says to run is about the last of its reasons.
func advice(p *v1alpha1.FunnelPolicy, c *metav1.Condition) string {
	kubectl := "kubectl -n " + p.Namespace
	switch c.Reason {
	case v1alpha1.ReasonAttachFailed:
		return fmt.Sprintf("%s logs -l '%s' -c %s --prefix --ignore-errors", kubectl, injectedOf(p), v1alpha1.InitContainerName)
	case v1alpha1.ReasonPodsPending, v1alpha1.ReasonHostNetworkPods:
		return strings.TrimSuffix(fmt.Sprintf("%s describe pods -l '%s'", kubectl, selectedBy(p)), " -l ''")
	case v1alpha1.ReasonNobodyInjects:
		return "apply the operator's install again (docs/install.md), then roll out what Attached names"
	}
	if found := command.FindStringSubmatch(c.Message); found != nil {
		return found[1]
	}
	if strings.Contains(c.Message, policy.SaidOnceInjected) {
		if attached := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionAttached); attached != nil && command.MatchString(attached.Message) {
			return advice(p, attached)
		}
	}
	switch c.Reason {
	case v1alpha1.ReasonPodsRefreshing:
		return fmt.Sprintf("%s get fp %s -w", kubectl, p.Name)
	case v1alpha1.ReasonConfigMapNotOwned:
		return fmt.Sprintf("%s get configmaps --show-labels", kubectl)
	case v1alpha1.ReasonClientNotAllowed:
		return fmt.Sprintf("kubectl get namespace %s --show-labels; kubectl -n %s get fp %s -o jsonpath='{.spec.backend.clients}'",
			p.Namespace, policy.BackendName(p).Namespace, p.Spec.Client.PolicyRef.Name)
	case v1alpha1.ReasonEndpointsNotCovered:
		return fmt.Sprintf("%s get endpointslices,pods", kubectl)
	case v1alpha1.ReasonBackendNotAttached, v1alpha1.ReasonNotABackend:
		return fmt.Sprintf("kubectl funnel status -n %s %s", policy.BackendName(p).Namespace, p.Spec.Client.PolicyRef.Name)
	case v1alpha1.ReasonServiceNotFound, v1alpha1.ReasonPortNotFound, v1alpha1.ReasonAddressPending, v1alpha1.ReasonTrafficPolicyCluster:
		return fmt.Sprintf("kubectl -n %s get services -o wide", serviceNamespace(p, c.Message))
	case v1alpha1.ReasonApplyFailed:
		return fmt.Sprintf("%s get resourcequotas,events", kubectl)
	case v1alpha1.ReasonSocketLoadBalancing, v1alpha1.ReasonServiceMesh:
		return "change what the message names; no edit of the policy does (docs/conditions.md#warnings)"
	}
	return fmt.Sprintf("%s edit funnelpolicy %s (docs/conditions.md tells what to change)", kubectl, p.Name)
}

// service is how messages name one.
var service = regexp.MustCompile(`Service ([^\s/]+)/`)

// serviceNamespace is that of the first Service that a message names; of one that it does
// not name the policy's own.
func serviceNamespace(p *v1alpha1.FunnelPolicy, message string) string {
	if found := service.FindStringSubmatch(message); found != nil {
		return found[1]
	}
	return p.Namespace
}

// selectedBy is the policy's selector as kubectl takes it, empty for all pods.
func selectedBy(p *v1alpha1.FunnelPolicy) string {
	selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	if err != nil {
		return ""
	}
	return selector.String()
}

// injectedOf is the same for those that have our init container.
func injectedOf(p *v1alpha1.FunnelPolicy) string {
	injected := v1alpha1.LabelInjected + "=" + v1alpha1.InjectedTrue
	if selected := selectedBy(p); selected != "" {
		return selected + "," + injected
	}
	return injected
}
