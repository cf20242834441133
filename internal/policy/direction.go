// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/rules"
)

// origin is where a compiled rule comes from.
type origin struct {
	path *field.Path
	// where completes the path for people: the rule's name, or its place in text.
	where string
	// text says that the rule is written in the rule language.
	text bool
}

// String is "spec.rules.egress[3] (https)".
func (o origin) String() string {
	if o.where == "" {
		return o.path.String()
	}
	return fmt.Sprintf("%s (%s)", o.path, o.where)
}

// direction compiles the list or the text of one direction.
func (c *compiler) direction(d rules.Direction, path *field.Path) rules.RuleSet {
	list, text := c.policy.Spec.Rules.Ingress, ""
	if d == rules.Egress {
		list = c.policy.Spec.Rules.Egress
	}
	if t := c.policy.Spec.Rules.Text; t != nil {
		text = map[rules.Direction]string{rules.Ingress: t.Ingress, rules.Egress: t.Egress}[d]
	}
	var rs rules.RuleSet
	var from []origin
	textPath, listPath := path.Child("text", d.String()), path.Child(d.String())
	switch {
	case text != "" && len(list) > 0:
		c.fail(field.Forbidden(textPath, fmt.Sprintf("%s has rules already: give the %s rules either as a list or as text", listPath, d)))
		return nil
	case text != "":
		rs, from = c.text(textPath, text)
	default:
		rs, from = c.list(listPath, list)
	}
	c.warnAboutRules(rs, from, d)
	return rs
}

// text parses rules in the rule language.
func (c *compiler) text(path *field.Path, text string) (rules.RuleSet, []origin) {
	rs, places, err := rules.ParsePositions(text)
	var faults rules.Errors
	if errors.As(err, &faults) {
		for _, f := range faults {
			c.fail(textFault(path, f))
		}
		return nil, nil
	}
	from := make([]origin, len(rs))
	for i := range rs {
		from[i] = origin{path: path, text: true, where: fmt.Sprintf("line %d, column %d", places[i].Line, places[i].Column)}
	}
	return rs, from
}

func textFault(path *field.Path, f *rules.SyntaxError) *field.Error {
	detail := fmt.Sprintf("line %d, column %d: %s", f.Line, f.Column, f.Message)
	if f.Expected != "" {
		detail += "; expected " + f.Expected
	}
	err := field.Invalid(path, f.Token, detail)
	if strings.HasPrefix(f.Message, fmt.Sprintf("more than %d rules", rules.MaxRules)) {
		return err.WithOrigin(v1alpha1.ReasonTooManyRules)
	}
	return err
}
