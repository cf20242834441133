// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// Program is what a policy compiles to.
type Program struct {
	// Ingress and Egress are the rules in canonical form.
	Ingress, Egress rules.RuleSet
	// Digest identifies the rules and settings. Names, comments and the policy's
	// own name do not change it.
	Digest string
	// Data is the data of the rules ConfigMap: ingress.rules, egress.rules and
	// settings, all three always present. It is nil when there is nothing to be
	// written, because of errors or Unresolved.
	Data map[string]string
	// Overhead is how many bytes the rules add to a packet at most.
	Overhead int
	// Warnings are about what is legal and probably not meant, the gravest first.
	Warnings []Warning
	// Services are those that the policy names, sorted.
	Services []types.NamespacedName
	// Addresses are those that the rules may use, by Service, in the order in
	// which the Service lists them. Services that do not exist have no entry.
	Addresses map[types.NamespacedName][]string
	// Unresolved is what the policy names and does not exist yet.
	Unresolved []Unresolved
}

// Warning is a reason of the condition Warnings and what it is about.
type Warning struct{ Reason, Message string }

// Unresolved is a reason of the condition ResolvedRefs and what is missing.
type Unresolved struct{ Reason, Message string }

// Compile returns the policy's program and every fault of its spec with its
// field path. services holds what exists of References(p). Data is nil when
// there are faults or Unresolved; the last good ConfigMap then stays.
func Compile(p *v1alpha1.FunnelPolicy, services map[types.NamespacedName]*corev1.Service) (*Program, field.ErrorList) {
	c := &compiler{policy: p, services: services, program: &Program{Services: References(p)}}
	c.program.Addresses = c.addresses()
	spec := field.NewPath("spec")
	c.selector(spec.Child("podSelector"))
	c.anyRules(spec.Child("rules"))
	c.program.Ingress = c.direction(rules.Ingress, spec.Child("rules"))
	c.program.Egress = c.direction(rules.Egress, spec.Child("rules"))
	c.program.Overhead = rules.Overhead(slices.Concat(c.program.Ingress, c.program.Egress))
	c.warnAboutServices()
	c.program.Unresolved = unique(c.program.Unresolved)
	c.program.Warnings = unique(c.program.Warnings)
	sortWarnings(c.program.Warnings)
	if len(c.errs) == 0 && len(c.program.Unresolved) == 0 {
		c.finish(spec.Child("rules"))
	}
	return c.program, c.errs
}

// compiler carries what is found on the way.
type compiler struct {
	policy   *v1alpha1.FunnelPolicy
	services map[types.NamespacedName]*corev1.Service
	program  *Program
	errs     field.ErrorList
}

func (c *compiler) fail(err *field.Error) {
	c.errs = append(c.errs, err)
}

func (c *compiler) selector(path *field.Path) {
	c.errs = append(c.errs, metav1validation.ValidateLabelSelector(&c.policy.Spec.PodSelector, metav1validation.LabelSelectorValidationOptions{}, path)...)
}

// anyRules: a policy without rules is a mistake.
func (c *compiler) anyRules(path *field.Path) {
	r := c.policy.Spec.Rules
	if len(r.Ingress)+len(r.Egress) == 0 && (r.Text == nil || r.Text.Ingress+r.Text.Egress == "") {
		c.fail(field.Required(path, "give at least one rule in rules.egress, rules.ingress or rules.text"))
	}
}

// finish sets the digest and the data, unless they are too large.
func (c *compiler) finish(path *field.Path) {
	s := settingsOf(c.policy)
	ingress, egress := c.program.Ingress.String(), c.program.Egress.String()
	s.Digest = digest(ingress, egress, s)
	data := map[string]string{
		v1alpha1.FileIngress:  ingress,
		v1alpha1.FileEgress:   egress,
		v1alpha1.FileSettings: s.String(),
	}
	if size := dataSize(data); size > maxDataSize {
		c.fail(tooLarge(path, size))
		return
	}
	c.program.Digest, c.program.Data = s.Digest, data
}

// unique drops repeated elements and keeps the order of the others.
func unique[T comparable](list []T) []T {
	seen := map[T]bool{}
	return slices.DeleteFunc(list, func(one T) bool {
		repeated := seen[one]
		seen[one] = true
		return repeated
	})
}

func compareNames(a, b types.NamespacedName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
