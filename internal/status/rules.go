// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
)

// accepted answers whether the spec compiles and fits the older policies of the
// namespace.
func (f Facts) accepted() verdict {
	if problem := f.refusal(); problem.happened() {
		return no(problem.Reason, problem.Message)
	}
	return yes(v1alpha1.ReasonAccepted, "The spec compiles.")
}

func (f Facts) refusal() Failure {
	if len(f.Faults) > 0 {
		return Failure{policy.Reason(f.Faults), firstFew(f.Faults, func(e *field.Error) string { return e.Error() })}
	}
	if len(f.Conflicts) > 0 {
		return Failure{v1alpha1.ReasonConflicted, firstFew(f.Conflicts, func(c policy.Conflict) string { return c.Message })}
	}
	return Failure{}
}

func (f Facts) resolved() verdict {
	if problem := f.missing(); problem.happened() {
		return no(problem.Reason, problem.Message)
	}
	return yes(v1alpha1.ReasonResolvedRefs, "All that the spec names exists.")
}

func (f Facts) missing() Failure {
	if len(f.Program.Unresolved) == 0 {
		return Failure{}
	}
	return Failure{f.Program.Unresolved[0].Reason, firstFew(f.Program.Unresolved, func(u policy.Unresolved) string { return u.Message })}
}

func (f Facts) programmed() verdict {
	name := v1alpha1.ConfigMapName(f.Policy.Name)
	switch c := f.ConfigMap; {
	case c.Failure.happened():
		return no(c.Failure.Reason, sentences(c.Failure.Message))
	case c.Current:
		return yes(v1alpha1.ReasonProgrammed, fmt.Sprintf("ConfigMap %s holds the current rules: %d ingress, %d egress.", name, len(c.Ingress), len(c.Egress)))
	case c.Empty:
		return no(v1alpha1.ReasonNeverProgrammed, fmt.Sprintf("ConfigMap %s holds an empty rule set, so that pods start and funnel nothing, until this is mended: %s", name, f.obstacle()))
	case c.Exists:
		return no(v1alpha1.ReasonStaleRules, fmt.Sprintf("ConfigMap %s keeps the last good rules until this is mended: %s", name, f.obstacle()))
	}
	return no(v1alpha1.ReasonNeverProgrammed, fmt.Sprintf("There is no ConfigMap %s yet, and pods that mount it wait for it, until this is mended: %s", name, f.obstacle()))
}

// obstacle is why there are no current rules.
func (f Facts) obstacle() string {
	if problem := f.refusal(); problem.happened() {
		return cut(problem.Message, longestDetail)
	}
	return cut(f.missing().Message, longestDetail)
}

func (f Facts) warnings() verdict {
	all := append(f.surroundings(), f.Program.Warnings...)
	if len(all) == 0 {
		return no(v1alpha1.ReasonNoWarnings, "Nothing in the rules looks unintended.")
	}
	return yes(all[0].Reason, firstFew(all, func(w policy.Warning) string { return w.Message }))
}

// firstFew writes one sentence for each of the first few things found.
func firstFew[T any](all []T, write func(T) string) string {
	const most = 5
	var texts []string
	for _, one := range all[:min(len(all), most)] {
		texts = append(texts, strings.TrimSuffix(write(one), ".")+".")
	}
	if more := len(all) - most; more > 0 {
		texts = append(texts, fmt.Sprintf("And %d more.", more))
	}
	return sentences(texts...)
}

// ready is True when the rules of this generation are in the ConfigMap. It does
// not wait for pods: policies are applied before workloads.
func (f Facts) ready() verdict {
	for _, v := range []verdict{f.accepted(), f.resolved(), f.programmed()} {
		if !v.isTrue() {
			return no(v.reason, v.message)
		}
	}
	return yes(v1alpha1.ReasonReady, "New pods get the current rules.")
}

// stalled tells that nothing changes until somebody acts.
func (f Facts) stalled() verdict {
	if problem := f.refusal(); problem.happened() {
		return yes(problem.Reason, problem.Message)
	}
	if problem := f.ConfigMap.Failure; problem.Reason == v1alpha1.ReasonConfigMapNotOwned {
		return yes(problem.Reason, sentences(problem.Message))
	}
	return verdict{}
}

// reconciling tells what the controller waits for.
func (f Facts) reconciling() verdict {
	if problem := f.missing(); problem.happened() {
		return yes(v1alpha1.ReasonWaiting, "Waiting for what the spec names: "+cut(problem.Message, longestDetail))
	}
	if problem := f.ConfigMap.Failure; problem.happened() {
		return yes(v1alpha1.ReasonWaiting, "Trying again: "+cut(problem.Message, longestDetail))
	}
	return verdict{}
}

// notYet says what comes before pods are rolled out: those that start before it wait for
// rules, or start without any.
func (f Facts) notYet() string {
	switch {
	case !f.ConfigMap.Exists && !f.awaitsInjection():
		return "First mend what Programmed says, since new pods would wait for rules; then roll these out."
	case f.ConfigMap.Empty && !f.Program.Revoked:
		return "Roll these out when Programmed is True: there are no rules for them yet."
	}
	return ""
}

// awaitsInjection reports whether the rules lack nothing but the number of a named port that
// pods behind the Service declare, and say once they are injected.
func (f Facts) awaitsInjection() bool {
	if f.refusal().happened() || f.ConfigMap.Failure.happened() || len(f.Program.Unresolved) == 0 {
		return false
	}
	front := slices.IndexFunc(f.Services, func(s *corev1.Service) bool { return nameOf(s) == f.Program.Front })
	return front >= 0 && !slices.ContainsFunc(f.Program.Unresolved, func(u policy.Unresolved) bool {
		return !f.Pods.declares(u.NamedPort, f.Services[front])
	})
}
