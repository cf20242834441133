// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
)

// published are facts about a policy that is fine: two pods run its rules.
func published(t *testing.T, edits ...func(*Facts)) Facts {
	ingress := mustRules(t, "tcp dport 1179 pushed unfunnel udp dport 4739")
	f := Facts{
		Policy:    webPolicy(),
		Program:   &policy.Program{Ingress: ingress, Digest: currentDigest},
		ConfigMap: ConfigMap{Exists: true, Current: true, Digest: currentDigest, Ingress: ingress},
		Services:  []*corev1.Service{service("web"), service("other", selecting(map[string]string{"app": "db"}))},
		Pods:      censusOf(0, pod("a", current), pod("b", current)),
		Namespace: enabled,
	}
	for _, edit := range edits {
		edit(&f)
	}
	return f
}

func faulty(errs ...*field.Error) func(*Facts) {
	return func(f *Facts) { f.Faults, f.ConfigMap.Current = errs, false }
}

func conflicting(f *Facts) {
	f.Conflicts, f.ConfigMap.Current = []policy.Conflict{{With: "older", Message: "policy older is older"}}, false
}

func unresolved(reason, message string) func(*Facts) {
	return func(f *Facts) {
		f.Program.Unresolved, f.ConfigMap.Current = []policy.Unresolved{{Reason: reason, Message: message}}, false
	}
}

// unnumbered is a backend whose Service leads to the container port of that name, which no
// injected pod declares.
func unnumbered(service, port string) func(*Facts) {
	return func(f *Facts) {
		f.Program.Front = types.NamespacedName{Namespace: testNamespace, Name: service}
		f.Program.Unresolved, f.ConfigMap.Current = []policy.Unresolved{{
			Reason: v1alpha1.ReasonPortNotFound, Message: "named " + port, NamedPort: policy.PortKey(corev1.ProtocolTCP, port),
		}}, false
	}
}

func notPublished(f *Facts) { f.ConfigMap = ConfigMap{} }

func unwritten(reason, message string) func(*Facts) {
	return func(f *Facts) { f.ConfigMap = ConfigMap{Failure: Failure{reason, message}} }
}

func warned(reason, message string) func(*Facts) {
	return func(f *Facts) {
		f.Program.Warnings = append(f.Program.Warnings, policy.Warning{Reason: reason, Message: message})
	}
}

func TestConditions(t *testing.T) {
	port := field.Invalid(field.NewPath("spec", "rules", "egress").Index(0).Child("funnel", "sourcePorts"), "9-1", "the range is reversed")
	headless := field.Forbidden(field.NewPath("spec", "rules"), "Service shop/web is headless").WithOrigin(v1alpha1.ReasonUnsupportedServiceType)
	const gone = "spec.rules.egress[0].match.destination.service: Service shop/web does not exist"
	for _, test := range []struct {
		name  string
		facts Facts
		want  string
	}{
		{"all is well", published(t), `
			Accepted=True/Accepted: The spec compiles.
			Programmed=True/Programmed: ConfigMap web-funnel holds the current rules: 1 ingress, 0 egress.
			Ready=True/Ready: New pods get the current rules.
			ResolvedRefs=True/ResolvedRefs: All that the spec names exists.`},
		{"invalid from the start", published(t, faulty(port), notPublished), `
			Accepted=False/Invalid: spec.rules.egress[0].funnel.sourcePorts: Invalid value: "9-1": the range is reversed.
			Programmed=False/NeverProgrammed: There is no ConfigMap web-funnel yet, and pods that mount it wait for it, until this is mended: spec.rules.egress[0].funnel.sourcePorts: Invalid value: "9-1": the range is reversed.
			Ready=False/Invalid: spec.rules.egress[0].funnel.sourcePorts: Invalid value: "9-1": the range is reversed.
			ResolvedRefs=True/ResolvedRefs: All that the spec names exists.
			Stalled=True/Invalid: spec.rules.egress[0].funnel.sourcePorts: Invalid value: "9-1": the range is reversed.`},
		{"an invalid edit", published(t, faulty(port)), `
			Accepted=False/Invalid: spec.rules.egress[0].funnel.sourcePorts: Invalid value: "9-1": the range is reversed.
			Programmed=False/StaleRules: ConfigMap web-funnel keeps the last good rules until this is mended: spec.rules.egress[0].funnel.sourcePorts: Invalid value: "9-1": the range is reversed.
			Ready=False/Invalid: spec.rules.egress[0].funnel.sourcePorts: Invalid value: "9-1": the range is reversed.
			ResolvedRefs=True/ResolvedRefs: All that the spec names exists.
			Stalled=True/Invalid: spec.rules.egress[0].funnel.sourcePorts: Invalid value: "9-1": the range is reversed.`},
		{"a Service that can't be used", published(t, faulty(headless)), `
			Accepted=False/UnsupportedServiceType: spec.rules: Forbidden: Service shop/web is headless.
			Programmed=False/StaleRules: ConfigMap web-funnel keeps the last good rules until this is mended: spec.rules: Forbidden: Service shop/web is headless.
			Ready=False/UnsupportedServiceType: spec.rules: Forbidden: Service shop/web is headless.
			ResolvedRefs=True/ResolvedRefs: All that the spec names exists.
			Stalled=True/UnsupportedServiceType: spec.rules: Forbidden: Service shop/web is headless.`},
		{"an older policy", published(t, conflicting), `
			Accepted=False/Conflicted: policy older is older.
			Programmed=False/StaleRules: ConfigMap web-funnel keeps the last good rules until this is mended: policy older is older.
			Ready=False/Conflicted: policy older is older.
			ResolvedRefs=True/ResolvedRefs: All that the spec names exists.
			Stalled=True/Conflicted: policy older is older.`},
		{"a Service that vanished", published(t, unresolved(v1alpha1.ReasonServiceNotFound, gone)), `
			Accepted=True/Accepted: The spec compiles.
			Programmed=False/StaleRules: ConfigMap web-funnel keeps the last good rules until this is mended: ` + gone + `.
			Ready=False/ServiceNotFound: ` + gone + `.
			Reconciling=True/Waiting: Waiting for what the spec names: ` + gone + `.
			ResolvedRefs=False/ServiceNotFound: ` + gone + `.`},
		{"faults and unresolved references: somebody must act first", published(t, faulty(headless), unresolved(v1alpha1.ReasonServiceNotFound, gone)), `
			Accepted=False/UnsupportedServiceType: spec.rules: Forbidden: Service shop/web is headless.
			Programmed=False/StaleRules: ConfigMap web-funnel keeps the last good rules until this is mended: spec.rules: Forbidden: Service shop/web is headless.
			Ready=False/UnsupportedServiceType: spec.rules: Forbidden: Service shop/web is headless.
			ResolvedRefs=False/ServiceNotFound: ` + gone + `.
			Stalled=True/UnsupportedServiceType: spec.rules: Forbidden: Service shop/web is headless.`},
		{"a ConfigMap of somebody else", published(t, unwritten(v1alpha1.ReasonConfigMapNotOwned, "Not ours.")), `
			Accepted=True/Accepted: The spec compiles.
			Programmed=False/ConfigMapNotOwned: Not ours.
			Ready=False/ConfigMapNotOwned: Not ours.
			ResolvedRefs=True/ResolvedRefs: All that the spec names exists.
			Stalled=True/ConfigMapNotOwned: Not ours.`},
		{"a write that failed", published(t, unwritten(v1alpha1.ReasonApplyFailed, "No.")), `
			Accepted=True/Accepted: The spec compiles.
			Programmed=False/ApplyFailed: No.
			Ready=False/ApplyFailed: No.
			Reconciling=True/Waiting: Trying again: No.
			ResolvedRefs=True/ResolvedRefs: All that the spec names exists.`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := Of(test.facts)
			var lines []string
			for _, c := range got.Conditions {
				if c.ObservedGeneration != 7 || c.LastTransitionTime.IsZero() {
					t.Errorf("%s: observedGeneration %d, lastTransitionTime %v", c.Type, c.ObservedGeneration, c.LastTransitionTime)
				}
				switch c.Type { // the others have tables of their own
				case "Accepted", "Programmed", "Ready", "ResolvedRefs", "Reconciling", "Stalled":
					lines = append(lines, fmt.Sprintf("%s=%s/%s: %s", c.Type, c.Status, c.Reason, c.Message))
				}
			}
			want := strings.Split(strings.ReplaceAll(strings.TrimSpace(test.want), "\t", ""), "\n")
			if diff := cmp.Diff(want, lines); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEveryConditionIsThere(t *testing.T) {
	for _, kind := range []string{"Accepted", "ResolvedRefs", "Programmed", "SessionAffinity", "SourceIPPreserved", "Attached", "MTUWarning", "Warnings", "Ready"} {
		if meta.FindStatusCondition(Of(published(t)).Conditions, kind) == nil {
			t.Errorf("no condition %s", kind)
		}
	}
}

func TestWarnings(t *testing.T) {
	many := published(t)
	for i := range 7 {
		warned("ShadowedRules", fmt.Sprintf("rule %d", i))(&many)
	}
	for _, test := range []struct {
		name  string
		facts Facts
		want  verdict
	}{
		{"none", published(t), no("NoWarnings", "Nothing in the rules looks unintended.")},
		{"the first gives the reason", published(t, warned("ShadowedRules", "A."), warned("UnfunnelWithoutPorts", "b")), yes("ShadowedRules", "A. b.")},
		{"many", many, yes("ShadowedRules", "rule 0. rule 1. rule 2. rule 3. rule 4. And 2 more.")},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.facts.warnings(), cmp.AllowUnexported(verdict{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestStatusTellsWhatItIsAbout(t *testing.T) {
	balancer := service("web", external(corev1.ServiceTypeLoadBalancer, "Local"), timeout(600))
	named := service("named", inNamespace("elsewhere"), withoutAffinity)
	got := Of(published(t, func(f *Facts) {
		f.Services = []*corev1.Service{balancer, named, service("unrelated", selecting(map[string]string{"app": "db"}))}
		f.Program.Addresses = map[types.NamespacedName][]string{{Namespace: "elsewhere", Name: "named"}: {"10.0.0.9"}}
	}))
	got.Conditions = nil
	want := v1alpha1.FunnelPolicyStatus{
		ObservedGeneration: 7,
		RulesDigest:        currentDigest,
		ConfigMap:          "web-funnel",
		Pods:               v1alpha1.PodCounts{Matched: 2, Attached: 2},
		Services: []v1alpha1.ServiceStatus{
			{Namespace: "elsewhere", Name: "named", Addresses: []string{"10.0.0.9"}, Affinity: "None"},
			{Namespace: "shop", Name: "web", Affinity: "ClientIP", TimeoutSeconds: 600, ExternalTrafficPolicy: "Local"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A client's policy is about the affinity of the Service that it funnels to,
// not of those that its rules name otherwise.
func TestFrontOfAClient(t *testing.T) {
	to := func(name string, funnel bool) v1alpha1.Rule {
		r := v1alpha1.Rule{Match: v1alpha1.Match{Destination: &v1alpha1.Peer{Service: &v1alpha1.ServiceReference{Name: name}}}}
		if funnel {
			r.Funnel = &v1alpha1.Funnel{}
		}
		return r
	}
	f := published(t, func(f *Facts) {
		f.Policy.Spec.Rules.Egress = []v1alpha1.Rule{to("accepted", false), to("funneled", true)}
		f.Services = []*corev1.Service{service("accepted", selecting(nil)), service("funneled", selecting(nil)), service("other", selecting(nil))}
	})
	front := f.front(nil)
	if len(front) != 1 || front[0].Name != "funneled" {
		t.Errorf("got %v", front)
	}
}

func TestServicesAreBounded(t *testing.T) {
	f := published(t)
	for i := range 100 {
		f.Services = append(f.Services, service(fmt.Sprintf("service-%02d", i)))
	}
	if got := len(Of(f).Services); got != servicesAtMost {
		t.Errorf("%d Services in status", got)
	}
}

// What did not change keeps its time, and the whole status then is equal.
func TestEqualFactsGiveAnEqualStatus(t *testing.T) {
	first := published(t)
	first.Policy.Status = Of(first)
	long := metav1.NewTime(time.Now().Add(-time.Hour).Truncate(time.Second))
	for i := range first.Policy.Status.Conditions {
		first.Policy.Status.Conditions[i].LastTransitionTime = long
	}
	if again := Of(first); !equality.Semantic.DeepEqual(again, first.Policy.Status) {
		t.Error(cmp.Diff(first.Policy.Status, again))
	}
	first.ConfigMap.Current = false
	turned := Of(first).Conditions
	for _, c := range turned {
		if kept := c.LastTransitionTime.Equal(&long); kept == (c.Type == "Programmed" || c.Type == "Ready") {
			t.Errorf("%s: transition time kept: %v", c.Type, kept)
		}
	}
}

func TestConditionsThatAreOverGo(t *testing.T) {
	f := published(t)
	f.Policy.Status.Conditions = []metav1.Condition{{Type: "Stalled", Status: "True"}, {Type: "Reconciling", Status: "True"}, {Type: "Ready", Status: "True", Reason: "Ready"}}
	for _, kind := range []string{"Stalled", "Reconciling"} {
		if meta.FindStatusCondition(Of(f).Conditions, kind) != nil {
			t.Errorf("%s is still there", kind)
		}
	}
	if f.Policy.Status.Conditions[0].Type != "Stalled" {
		t.Error("the status before was changed")
	}
}
