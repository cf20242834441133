// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// list compiles a list of rules. Each becomes one rule, or one per IP family
// when its addresses are of both.
func (c *compiler) list(path *field.Path, list []v1alpha1.Rule) (rules.RuleSet, []origin) {
	var rs rules.RuleSet
	var from []origin
	named := map[string]bool{}
	for i := range list {
		at := path.Index(i)
		c.uniqueName(at.Child("name"), list[i].Name, named)
		compiled := c.rule(at, &list[i])
		o := origin{path: at, where: list[i].Name}
		c.warnAboutPort(o, &list[i])
		for _, r := range compiled {
			rs, from = append(rs, r.Canonical()), append(from, o)
		}
	}
	return rs, from
}

func namesService(m v1alpha1.Match) bool {
	return m.Source != nil && m.Source.Service != nil || m.Destination != nil && m.Destination.Service != nil
}

// warnAboutPort tells of a disguise as a port that the Service, which the rule
// names as destination, does not have.
func (c *compiler) warnAboutPort(o origin, r *v1alpha1.Rule) {
	name, funnels := FunnelsTo(c.policy, r)
	s := c.in.Services[name]
	if !funnels || s == nil || unsupported(s) != "" || slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool {
		return p.Port == r.Funnel.DestinationPort && sameProtocol(p.Protocol, r.Funnel.Protocol)
	}) {
		return
	}
	c.program.Warnings = append(c.program.Warnings, Warning{v1alpha1.ReasonRuleWarnings, fmt.Sprintf(
		"%s: Service %s has no port %s; it lists %s: write one of these as funnel.protocol and funnel.destinationPort, since what is sent to any other reaches no pod",
		o, name, portText(r.Funnel.DestinationPort, corev1.Protocol(r.Funnel.Protocol)), listPorts(s.Spec.Ports))})
}

func (c *compiler) uniqueName(path *field.Path, name string, taken map[string]bool) {
	if taken[name] {
		c.fail(field.Duplicate(path, name))
	}
	taken[name] = name != ""
}

// rule compiles one rule; nil when it has faults or names what does not exist.
func (c *compiler) rule(path *field.Path, r *v1alpha1.Rule) rules.RuleSet {
	before := len(c.errs)
	template := rules.Rule{Action: c.action(path, r)}
	families := c.match(path.Child("match"), &r.Match, &template)
	c.checkInline(path.Child("match"), r.Match, template.Action)
	if len(c.errs) > before {
		return nil
	}
	var rs rules.RuleSet
	for _, f := range families {
		one := template
		one.Family, one.Source, one.Destination = f.family, f.source, f.destination
		rs = append(rs, one)
	}
	c.checkRules(path, rs)
	return rs
}

// checkRules reports what the language itself finds wrong with the rules made
// here. The checks above leave nothing to be found, unless the language got
// stricter.
func (c *compiler) checkRules(path *field.Path, rs rules.RuleSet) {
	if err := rs.Validate(); err != nil {
		c.fail(field.Invalid(path, rs.String(), err.Error()))
	}
}

func (c *compiler) action(path *field.Path, r *v1alpha1.Rule) rules.Action {
	var actions []rules.Action
	if r.Accept != nil {
		actions = append(actions, rules.Action{Verb: rules.Accept})
	}
	if r.Drop != nil {
		actions = append(actions, rules.Action{Verb: rules.Drop})
	}
	if r.Funnel != nil {
		actions = append(actions, c.funnel(path.Child("funnel"), r.Funnel))
	}
	if r.Unfunnel != nil {
		actions = append(actions, c.unfunnel(path.Child("unfunnel"), r.Unfunnel))
	}
	if len(actions) != 1 {
		c.fail(field.Forbidden(path, fmt.Sprintf("the rule has %d actions: give exactly one of accept, drop, funnel and unfunnel", len(actions))))
		return rules.Action{}
	}
	return actions[0]
}

func (c *compiler) funnel(path *field.Path, f *v1alpha1.Funnel) rules.Action {
	a := rules.Action{
		Verb:     rules.Funnel,
		Protocol: c.protocol(path.Child("protocol"), f.Protocol),
		Inline:   c.inline(path, f.Mode, f.Protocol, f.Reply),
		Reply:    f.Reply,
	}
	switch {
	case !a.Inline:
		a.SourcePorts = c.portRange(path.Child("sourcePorts"), f.SourcePorts)
	case f.SourcePorts != "":
		c.fail(field.Forbidden(path.Child("sourcePorts"), "mode Inline chooses source ports itself: leave sourcePorts out, or use mode Push"))
	}
	if f.DestinationPort < 1 || f.DestinationPort > 65535 {
		c.fail(field.Invalid(path.Child("destinationPort"), f.DestinationPort, "write a port from 1 to 65535"))
		return a
	}
	a.Port = uint16(f.DestinationPort)
	return a
}

func (c *compiler) unfunnel(path *field.Path, u *v1alpha1.Unfunnel) rules.Action {
	return rules.Action{
		Verb:     rules.Unfunnel,
		Protocol: c.protocol(path.Child("protocol"), u.Protocol),
		Inline:   c.inline(path, u.Mode, u.Protocol, u.Reply),
		Ports:    c.ports(path.Child("destinationPorts"), u.DestinationPorts),
		Reply:    u.Reply,
	}
}

// inline reports whether the mode is Inline, and what does not go with it.
func (c *compiler) inline(path *field.Path, mode v1alpha1.Mode, protocol v1alpha1.Protocol, reply bool) bool {
	switch mode {
	case v1alpha1.ModePush, "":
		return false
	case v1alpha1.ModeInline:
	default:
		c.fail(field.NotSupported(path.Child("mode"), mode, []v1alpha1.Mode{v1alpha1.ModePush, v1alpha1.ModeInline}))
		return false
	}
	if protocol != v1alpha1.TCP {
		c.fail(field.Forbidden(path.Child("protocol"), "mode Inline carries TCP in TCP only: write protocol TCP, or use mode Push"))
	}
	if reply {
		c.fail(field.Forbidden(path.Child("reply"), "mode Inline answers in kind already: leave reply out"))
	}
	return true
}

// checkInline reports a match that does not go with mode Inline.
func (c *compiler) checkInline(path *field.Path, m v1alpha1.Match, a rules.Action) {
	if !a.Inline {
		return
	}
	if m.Protocol == v1alpha1.UDP {
		c.fail(field.Forbidden(path.Child("protocol"), "mode Inline carries TCP in TCP only: match protocol TCP, or use mode Push"))
	}
	if m.Pushed {
		c.fail(field.Forbidden(path.Child("pushed"), "a pushed packet is not inline: leave match.pushed out, or use mode Push"))
	}
}
