// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"slices"

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

	// Front is the Service that a backend stands behind, or that a client funnels
	// to; zero for explicit rules.
	Front types.NamespacedName
	// Backend is the policy that a client refers to.
	Backend types.NamespacedName
	// ReleasedFor is the value of v1alpha1.AnnotationReleased that a client's rules
	// are published with; empty for others. The caller sets it.
	ReleasedFor string
	// Revoked says that a client may not have any rules: those that were released
	// are taken back.
	Revoked bool
	// External is the data of a backend's ConfigMap for clients outside the cluster;
	// nil when it can't be made.
	External map[string]string
}

// Warning is a reason of the condition Warnings and what it is about.
type Warning struct{ Reason, Message string }

// Unresolved is a reason of the condition ResolvedRefs and what is missing.
type Unresolved struct {
	Reason, Message string
	// NamedPort is the container port, as of PortKey, that a Service leads to and no
	// injected pod behind it declares; empty when something else is missing.
	NamedPort string
}

// SaidOnceInjected is in the Message of an Unresolved that has a NamedPort.
const SaidOnceInjected = "pods say it once they are injected, also while they wait for these rules"

// Compile returns the policy's program and every fault of its spec with its
// field path. Data is nil when there are faults or Unresolved; the last good
// ConfigMap then stays.
func Compile(p *v1alpha1.FunnelPolicy, in Cluster) (*Program, field.ErrorList) {
	c := &compiler{policy: p, in: in, program: &Program{Services: in.References(p)}}
	c.program.Addresses = c.addresses()
	spec := field.NewPath("spec")
	c.selector(spec.Child("podSelector"))
	path := c.form(spec)
	c.program.Overhead = rules.Overhead(slices.Concat(c.program.Ingress, c.program.Egress))
	c.warnAboutServices()
	c.program.Unresolved = unique(c.program.Unresolved)
	c.program.Warnings = unique(c.program.Warnings)
	sortWarnings(c.program.Warnings)
	if len(c.errs) == 0 && len(c.program.Unresolved) == 0 {
		c.finish(path)
	}
	return c.program, c.errs
}

// form compiles the one form that the spec has, and returns its path.
func (c *compiler) form(spec *field.Path) *field.Path {
	backend, client, rulesPath := spec.Child("backend"), spec.Child("client"), spec.Child("rules")
	switch s := &c.policy.Spec; {
	case s.Backend != nil && s.Client != nil, (s.Backend != nil || s.Client != nil) && anyRules(s.Rules):
		c.fail(field.Forbidden(spec, "give exactly one of backend, client and rules"))
		return spec
	case s.Backend != nil:
		c.backend(backend)
		return backend
	case s.Client != nil:
		c.client(client)
		return client
	case !anyRules(s.Rules):
		c.fail(field.Required(rulesPath, "give at least one rule in rules.egress, rules.ingress or rules.text"))
	}
	c.program.Ingress = c.direction(rules.Ingress, rulesPath)
	c.program.Egress = c.direction(rules.Egress, rulesPath)
	return rulesPath
}

func anyRules(r v1alpha1.Rules) bool {
	return len(r.Ingress)+len(r.Egress) > 0 || r.Text != nil && r.Text.Ingress+r.Text.Egress != ""
}

// compiler carries what is found on the way.
type compiler struct {
	policy  *v1alpha1.FunnelPolicy
	in      Cluster
	program *Program
	errs    field.ErrorList
}

func (c *compiler) fail(err *field.Error) {
	c.errs = append(c.errs, err)
}

func (c *compiler) selector(path *field.Path) {
	c.errs = append(c.errs, metav1validation.ValidateLabelSelector(&c.policy.Spec.PodSelector, metav1validation.LabelSelectorValidationOptions{}, path)...)
}

// finish sets the digest and the data, unless they are too large.
func (c *compiler) finish(path *field.Path) {
	digest, data := dataOf(c.policy, c.program.Ingress, c.program.Egress)
	if size := dataSize(data); size > maxDataSize {
		c.fail(tooLarge(path, size))
		return
	}
	c.program.Digest, c.program.Data = digest, data
}

// Empty is the data of a ConfigMap with which pods start, and funnel nothing: that
// of a client whose backends can't undo it yet.
func Empty(p *v1alpha1.FunnelPolicy) (digest string, data map[string]string) {
	return dataOf(p, nil, nil)
}

// dataOf is the data of the policy's ConfigMap with these rules.
func dataOf(p *v1alpha1.FunnelPolicy, in, out rules.RuleSet) (sum string, data map[string]string) {
	s := settingsOf(p)
	ingress, egress := in.String(), out.String()
	s.Digest = digest(ingress, egress, s)
	return s.Digest, map[string]string{
		v1alpha1.FileIngress:  ingress,
		v1alpha1.FileEgress:   egress,
		v1alpha1.FileSettings: s.String(),
	}
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
