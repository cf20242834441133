// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"strings"
	"time"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// LabelEnforce is the namespace label by which PodSecurity admission chooses
// what it forbids.
const LabelEnforce = "pod-security.kubernetes.io/enforce"

// Injector is who injects new pods.
type Injector uint8

const (
	// Admission is the operator's webhook, or admission policies: in namespaces that are
	// enabled.
	Admission Injector = iota
	// Manifests are the pods' own, whatever labels their namespace has.
	Manifests
	// Nobody is there while the webhook's configuration is not.
	Nobody
	// LeftOut stands for Manifests in a namespace that admission leaves out, whatever its
	// labels: kube-system, and the operator's own.
	LeftOut
)

// Namespace is what matters here of a namespace's labels, and who injects pods in it.
type Namespace struct {
	Name     string
	Injector Injector
	// Injection is the value of v1alpha1.LabelInjection.
	Injection string
	// Enforce is the value of LabelEnforce.
	Enforce string
}

// Injects reports whether no new pod of the namespace comes without injection unless it
// opted out.
func (n Namespace) Injects() bool { return n.Injector == Admission && n.enabled() }

// AtAdmission reports whether pods of the namespace are injected at admission, or were while
// the webhook's configuration was there.
func (n Namespace) AtAdmission() bool { return !n.byManifests() && n.enabled() }

// byManifests reports whether pods are injected if their manifests are.
func (n Namespace) byManifests() bool { return n.Injector == Manifests || n.Injector == LeftOut }

func (n Namespace) enabled() bool { return n.Injection == v1alpha1.InjectionEnabled }

// forbids reports whether the namespace refuses the capabilities that attaching
// takes. Without the label the cluster's default decides, which can't be seen.
func (n Namespace) forbids() bool { return n.Enforce == "baseline" || n.Enforce == "restricted" }

func (n Namespace) enableCommand() string {
	return fmt.Sprintf("kubectl label namespace %s %s=%s --overwrite", n.Name, v1alpha1.LabelInjection, v1alpha1.InjectionEnabled)
}

// permit is what to do where the namespace forbids the capabilities. The two that are left out
// are not to be opened for all of their pods.
func (n Namespace) permit() string {
	if n.Injector == LeftOut {
		return "Move the workload to a namespace of its own."
	}
	return fmt.Sprintf("Run: kubectl label namespace %s %s=privileged --overwrite.", n.Name, LabelEnforce)
}

// leftOut tells of a namespace that is left out.
func (n Namespace) leftOut() string {
	return fmt.Sprintf("The cluster never injects pods of namespace %s, whatever its labels; kubectl funnel inject injects their manifests.", n.Name)
}

// problem is one sentence about pods without the current rules.
type problem struct {
	reason   string
	sentence string
}

// attached answers whether every matched pod runs the current rules. The reason
// is that of the problem to be solved first; the message tells of all.
// refused is why pods were not updated in place that should be, "" if they were. notYet
// is what comes before a rollout, "" for nothing.
func (c *Census) attached(n Namespace, refused, notYet string) verdict {
	problems := c.problems(n, refused, notYet)
	if len(problems) > 0 {
		texts := make([]string, len(problems))
		for i, p := range problems {
			texts[i] = p.sentence
		}
		return no(problems[0].reason, sentences(texts...))
	}
	matched := int(c.Counts().Matched)
	if matched == 0 {
		return unknown(v1alpha1.ReasonNoMatchingPods, sentences("No running pod matches spec.podSelector.", c.optedOut(), n.caution()))
	}
	return yes(v1alpha1.ReasonAttached, sentences(fmt.Sprintf("%s with the current rules.", counted(matched, "pod")), n.caution()))
}

// problems lists what keeps pods from running the current rules, what must be
// solved first first.
func (c *Census) problems(n Namespace, refused, notYet string) []problem {
	var found []problem
	add := func(wrong bool, reason, format string, args ...any) {
		if wrong {
			found = append(found, problem{reason, fmt.Sprintf(format, args...)})
		}
	}
	rollOut := func(state State) string {
		switch {
		case notYet != "":
			return notYet
		case state == Missing && n.byManifests():
			return "Run: kubectl funnel inject -f FILES --image ATTACHER | kubectl apply -f - (FILES: the manifests of these pods and of all policies that select them)."
		}
		return fmt.Sprintf("Run: %s.", c.renewals[state])
	}
	missing, matched := c.counts[Missing], int(c.Counts().Matched)

	add(c.counts[Failed] > 0, v1alpha1.ReasonAttachFailed,
		"Attaching failed in %s: %s.", counted(c.counts[Failed], "pod"), c.named[Failed])
	add(c.unrefreshed.total > 0, v1alpha1.ReasonRefreshFailed,
		"Refreshing failed in %s: %s. %s rules from before, and no other is refreshed (%d waiting) until the policy changes or they run the current rules. Run: %s.",
		counted(c.unrefreshed.total, "pod"), c.unrefreshed, keeps(c.unrefreshed.total), c.queued.total, c.refreshCommand(n))
	add(refused != "" && c.queued.total > 0, v1alpha1.ReasonRefreshForbidden,
		"The operator may not refresh %s: %s: %s. Grant it with config/overlays/in-place, or refresh them yourself. Run: %s.",
		counted(c.queued.total, "pod"), c.queued, refused, c.refreshCommand(n))
	add(c.stalled.total > 0, v1alpha1.ReasonRefreshStalled,
		"Not refreshed within %d minutes: %s: %s. %s rules from before until the container ends; others are refreshed meanwhile. Run: %s.",
		refreshAtMost/time.Minute, counted(c.stalled.total, "pod"), c.stalled, keeps(c.stalled.total), c.inspections)
	add(n.Injector == Nobody && missing > 0, v1alpha1.ReasonNobodyInjects,
		"Nobody injects pods: the webhook's configuration is not there. %s", installAgain)
	add(!n.byManifests() && !n.enabled() && missing > 0, v1alpha1.ReasonNamespaceNotEnabled,
		"The namespace is not enabled for injection. Run: %s.", n.enableCommand())
	add(n.forbids() && (missing > 0 || matched == 0 && (n.byManifests() || n.Injects())), v1alpha1.ReasonPodSecurityForbids,
		"The namespace enforces PodSecurity %s, which forbids the capabilities that attaching takes, so that injected pods are refused. %s", n.Enforce, n.permit())
	add(c.barred.total > 0, v1alpha1.ReasonHostNetworkPods,
		"Can't be injected: %s: %s. Change that or keep them out of spec.podSelector.", counted(c.barred.total, "pod"), c.barred)
	add(n.Injector == LeftOut && c.named[Missing].total > 0, v1alpha1.ReasonPodsNotInjected, "%s", n.leftOut())
	add(c.named[Missing].total > 0, v1alpha1.ReasonPodsNotInjected,
		"Not injected: %s: %s. %s", counted(c.named[Missing].total, "pod"), c.named[Missing], rollOut(Missing))
	add(c.named[Outdated].total > 0, v1alpha1.ReasonPodsOutdated,
		"Without the current rules: %s: %s. %s", counted(c.named[Outdated].total, "pod"), c.named[Outdated], rollOut(Outdated))
	waiting := 0
	if refused == "" && c.unrefreshed.total == 0 {
		waiting = c.queued.total
	}
	add(c.refreshing.total+waiting > 0, v1alpha1.ReasonPodsRefreshing,
		"Being refreshed: %s%s; waiting for it: %d.", counted(c.refreshing.total, "pod"), colon(c.refreshing), waiting)
	add(c.counts[Pending] > 0, v1alpha1.ReasonPodsPending,
		"No report yet: %s: %s.", counted(c.counts[Pending], "pod"), c.named[Pending])
	return found
}

// refreshCommand refreshes by hand what the operator does not.
func (c *Census) refreshCommand(n Namespace) string {
	return fmt.Sprintf("kubectl funnel refresh -n %s %s", n.Name, c.policy)
}

func keeps(pods int) string {
	if pods == 1 {
		return "It keeps its"
	}
	return "They keep their"
}

// colon lists names behind a colon, if there are any.
func colon(names sample) string {
	if names.total == 0 {
		return ""
	}
	return ": " + names.String()
}

func (c *Census) optedOut() string {
	if c.counts[OptedOut] == 0 {
		return ""
	}
	return fmt.Sprintf("Opted out by the label %s: %s.", v1alpha1.LabelInject, counted(c.counts[OptedOut], "pod"))
}

// installAgain is what brings the webhook's configuration back.
const installAgain = "Apply the operator's install again."

// caution tells what would go wrong with the next pod.
func (n Namespace) caution() string {
	switch {
	case n.Injector == Nobody:
		return "New pods are not injected, because the webhook's configuration is not there. " + installAgain
	case n.Injector == Admission && !n.enabled():
		return fmt.Sprintf("New pods are not injected, because the namespace is not enabled. Run: %s.", n.enableCommand())
	case n.Injector == LeftOut:
		return n.leftOut()
	case n.forbids():
		return fmt.Sprintf("New pods are refused, because the namespace enforces PodSecurity %s. %s", n.Enforce, n.permit())
	}
	return ""
}

// String joins the commands for a shell.
func (c commands) String() string {
	text := strings.Join(c.kept, "; ")
	if c.more {
		text += "; and likewise for the others"
	}
	return text
}
