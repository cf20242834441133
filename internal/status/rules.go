// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

func (f Facts) accepted() verdict {
	if f.Accepted.happened() {
		return no(f.Accepted.Reason, sentences(f.Accepted.Message))
	}
	return yes(v1alpha1.ReasonAccepted, "The spec compiles.")
}

func (f Facts) resolved() verdict {
	if f.Resolved.happened() {
		return no(f.Resolved.Reason, sentences(f.Resolved.Message))
	}
	return yes(v1alpha1.ReasonResolvedRefs, "All that the spec names exists.")
}

func (f Facts) programmed() verdict {
	name := v1alpha1.ConfigMapName(f.Policy.Name)
	switch c := f.ConfigMap; {
	case c.Failure.happened():
		return no(c.Failure.Reason, sentences(c.Failure.Message))
	case c.Current:
		return yes(v1alpha1.ReasonProgrammed, fmt.Sprintf("ConfigMap %s holds the current rules: %d ingress, %d egress.", name, len(c.Ingress), len(c.Egress)))
	case c.Exists:
		return no(v1alpha1.ReasonStaleRules, fmt.Sprintf("ConfigMap %s keeps the last good rules until this is mended: %s", name, f.obstacle()))
	}
	return no(v1alpha1.ReasonNeverProgrammed, fmt.Sprintf("There is no ConfigMap %s yet, and pods that mount it wait for it, until this is mended: %s", name, f.obstacle()))
}

// obstacle is why there are no current rules.
func (f Facts) obstacle() string {
	if f.Accepted.happened() {
		return cut(f.Accepted.Message, longestDetail)
	}
	return cut(f.Resolved.Message, longestDetail)
}

func (f Facts) warnings() verdict {
	if len(f.Warnings) == 0 {
		return no(v1alpha1.ReasonNoWarnings, "Nothing in the rules looks unintended.")
	}
	texts := make([]string, len(f.Warnings))
	for i, w := range f.Warnings {
		texts[i] = w.Message
	}
	return yes(f.Warnings[0].Reason, sentences(warningsAtMost(texts)...))
}

// warningsAtMost names the first few.
func warningsAtMost(texts []string) []string {
	const most = 5
	if len(texts) <= most {
		return texts
	}
	return append(texts[:most:most], fmt.Sprintf("And %d more.", len(texts)-most))
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
	switch {
	case f.Accepted.happened():
		return yes(f.Accepted.Reason, sentences(f.Accepted.Message))
	case f.ConfigMap.Failure.Reason == v1alpha1.ReasonConfigMapNotOwned:
		return yes(f.ConfigMap.Failure.Reason, sentences(f.ConfigMap.Failure.Message))
	}
	return verdict{}
}

// reconciling tells what the controller waits for.
func (f Facts) reconciling() verdict {
	switch {
	case f.Resolved.happened():
		return yes(v1alpha1.ReasonWaiting, "Waiting for references: "+cut(f.Resolved.Message, longestDetail))
	case f.ConfigMap.Failure.happened():
		return yes(v1alpha1.ReasonWaiting, "Trying again: "+cut(f.ConfigMap.Failure.Message, longestDetail))
	}
	return verdict{}
}
