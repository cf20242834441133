// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// Severity says how bad a finding is.
type Severity string

const (
	// Fault is what will not work.
	Fault Severity = "fault"
	// Doubt is what is allowed, and probably not meant or not enough.
	Doubt Severity = "warning"
	// Open is what only a cluster can tell.
	Open Severity = "note"
)

// Finding is something about an object that somebody should know.
type Finding struct {
	Severity Severity
	File     string
	Line     int
	// Title is the object's kind and name.
	Title   string
	Message string
}

// String is "file:line: severity: kind name: message".
func (f Finding) String() string {
	return fmt.Sprintf("%s:%d: %s: %s: %s", f.File, f.Line, f.Severity, f.Title, f.Message)
}

func (o *Object) finding(s Severity, path, message string) Finding {
	return Finding{s, o.File, o.Line(path), o.Title(), message}
}

// Lint returns what is wrong or doubtful about the policies and the pods that
// they select, in the order of the input.
func (w *World) Lint() []Finding {
	found := slices.Clone(w.unreadable)
	programs := map[string][]policy.Compiled{}
	for _, p := range w.Policies {
		program, faults := w.Compile(p)
		found = append(found, slices.Concat(faults, w.advice(p, program))...)
		programs[p.Namespace] = append(programs[p.Namespace], policy.Compiled{Policy: p.FunnelPolicy, Program: program})
	}
	conflicts := map[string]map[string]policy.Conflict{}
	for namespace, compiled := range programs {
		conflicts[namespace] = policy.Conflicts(compiled)
	}
	for _, p := range w.Policies {
		if c, yields := conflicts[p.Namespace][p.Name]; yields {
			found = append(found, p.Object.finding(Fault, "spec", v1alpha1.ReasonConflicted+": "+c.Message))
		}
	}
	for i := range w.pods {
		found = append(found, w.podFindings(w.makers[i], w.pods[i])...)
	}
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return found
}

// advised are the conditions that can be told without a cluster, each with the
// status that is bad.
var advised = []struct {
	kind string
	bad  metav1.ConditionStatus
}{
	{v1alpha1.ConditionSessionAffinity, metav1.ConditionFalse},
	{v1alpha1.ConditionSourceIPPreserved, metav1.ConditionFalse},
	{v1alpha1.ConditionWarnings, metav1.ConditionTrue},
}

// advice is what the conditions will say.
func (w *World) advice(p Policy, program *policy.Program) []Finding {
	var found []Finding
	for _, u := range program.Unresolved {
		found = append(found, p.Object.finding(Open, pathIn(u.Message), fmt.Sprintf("not in the input: %s: %s", u.Reason, u.Message)))
	}
	conditions := status.Of(w.facts(p, program)).Conditions
	for _, a := range advised {
		if c := meta.FindStatusCondition(conditions, a.kind); c != nil && c.Status == a.bad {
			found = append(found, p.Object.finding(Doubt, "spec", fmt.Sprintf("%s=%s, %s: %s", c.Type, c.Status, c.Reason, c.Message)))
		}
	}
	return found
}

// pathIn is the field path that a message begins with.
func pathIn(message string) string {
	path, _, _ := strings.Cut(message, ": ")
	return path
}

func (w *World) facts(p Policy, program *policy.Program) status.Facts {
	census := status.NewCensus(p.Name, program.Digest, program.Overhead)
	for _, pod := range w.pods {
		if pod.Namespace == p.Namespace && selects(p.FunnelPolicy, pod) {
			census.Add(pod)
		}
	}
	var services []*corev1.Service
	for name, s := range w.services {
		if name.Namespace == p.Namespace || slices.Contains(program.Services, name) {
			services = append(services, s)
		}
	}
	labels := w.namespaces[p.Namespace]
	return status.Facts{
		Policy: p.FunnelPolicy, Program: program, Services: services, Pods: census,
		Namespace: status.Namespace{Name: p.Namespace, Injection: labels[v1alpha1.LabelInjection], Enforce: labels[status.LabelEnforce]},
	}
}

// podFindings says why a pod could not be injected, and whether its namespace
// asks for it.
func (w *World) podFindings(maker *Object, pod *corev1.Pod) []Finding {
	names := w.Selecting(pod)
	var denied *inject.DeniedError
	var found []Finding
	if err := inject.Pod(pod.DeepCopy(), names, inject.Options{Image: "unused"}); errors.As(err, &denied) {
		path, _ := maker.template()
		for _, fault := range denied.Faults {
			field := strings.Join(append(slices.Clone(path), pathIn(fault)), ".")
			found = append(found, maker.finding(Fault, field, fault))
		}
	}
	labels, known := w.namespaces[pod.Namespace]
	if known && len(names) > 0 && !inject.OptedOut(pod) && labels[v1alpha1.LabelInjection] != v1alpha1.InjectionEnabled && pod.Labels[v1alpha1.LabelInjected] == "" {
		found = append(found, maker.finding(Doubt, "", fmt.Sprintf(
			"FunnelPolicy %s selects its pods, and Namespace %s has no label %s=%s: they are not injected",
			names[0], pod.Namespace, v1alpha1.LabelInjection, v1alpha1.InjectionEnabled)))
	}
	return found
}
