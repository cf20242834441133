// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/config/crd"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
	"github.com/sfunnel-io/funnel-operator/internal/schema"
)

// kind is what the definition says about FunnelPolicies.
var kind = sync.OnceValue(func() *schema.Kind {
	k, err := schema.New(crd.FunnelPolicy())
	if err != nil {
		panic(err) // it is generated, and tests install it
	}
	return k
})

// Policy is a FunnelPolicy with its defaults, and where it stands.
type Policy struct {
	*v1alpha1.FunnelPolicy
	Object *Object
	// content is the policy as a server sees it; unknown are the paths of fields
	// that it does not.
	content map[string]any
	unknown []string
}

// readPolicy adds a policy, or why it can't be read.
func (w *World) readPolicy(o *Object, namespace string) []Finding {
	p := Policy{FunnelPolicy: &v1alpha1.FunnelPolicy{}, Object: o}
	if fault := o.into(&p.content); fault != nil {
		return []Finding{*fault}
	}
	if metadata, ok := p.content["metadata"].(map[string]any); ok && o.Namespace == "" {
		metadata["namespace"] = namespace
	}
	p.unknown = kind().Prepare(p.content)
	text, err := json.Marshal(p.content)
	if err == nil {
		err = kjson.UnmarshalCaseSensitivePreserveInts(text, p.FunnelPolicy)
	}
	if err == nil {
		p.Namespace = cmp.Or(p.Namespace, namespace)
		w.Policies = append(w.Policies, p)
		return nil
	}
	why := p.findings(kind().Validate(p.content))
	if len(why) == 0 {
		why = []Finding{o.finding(Fault, "", err.Error())}
	}
	return why
}

// Unreadable says why policies, Services or pods can't be read: values are of wrong
// types. It is nil when all could be.
func (w *World) Unreadable() error {
	var faults []error
	for _, f := range w.unreadable {
		faults = append(faults, errors.New(f.String()))
	}
	return errors.Join(faults...)
}

// Refused says why a server would refuse policies by their schema, fields that it does not
// know included. It is nil when it would not.
func (w *World) Refused() error {
	var faults []error
	for _, p := range w.Policies {
		for _, f := range p.findings(kind().Validate(p.content)) {
			if f.Severity == Fault {
				faults = append(faults, errors.New(f.String()))
			}
		}
		if _, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector); err != nil {
			faults = append(faults, errors.New(p.Object.finding(Fault, "spec.podSelector", err.Error()).String()))
		}
	}
	return errors.Join(faults...)
}

// Compile compiles a policy against what the streams hold. The findings say why a
// server would refuse it, and what else is wrong with its rules.
func (w *World) Compile(p Policy) (*policy.Program, []Finding) {
	program, faults := policy.Compile(p.FunnelPolicy, w.cluster(p.FunnelPolicy))
	refused, checked := kind().Validate(p.content)
	return program, p.findings(merge(refused, faults), checked)
}

// merge joins what the schema and what the compiler refuse. Where both refuse the
// same, one is left: the compiler's for the same field, which knows more words, else
// the schema's.
func merge(refused, faults field.ErrorList) field.ErrorList {
	all := slices.Clone(refused)
	for _, f := range faults {
		var same []int
		known := false
		for i, r := range refused {
			known = known || overlap(r.Field, f.Field)
			if r.Field == f.Field {
				same = append(same, i)
			}
		}
		switch {
		case len(same) == 1:
			all[same[0]] = f
		case !known:
			all = append(all, f)
		}
	}
	return all
}

// overlap reports whether the fields are the same, or one is part of the other.
// Everything is part of spec, so that this says nothing.
func overlap(schemas, compilers string) bool {
	return schemas == compilers || schemas != "spec" && (within(schemas, compilers) || within(compilers, schemas))
}

func within(whole, part string) bool {
	rest, found := strings.CutPrefix(part, whole)
	return found && (rest[0] == '.' || rest[0] == '[')
}

// findings are those of unknown fields and these.
func (p Policy) findings(faults field.ErrorList, checked bool) []Finding {
	var found []Finding
	for _, path := range p.unknown {
		found = append(found, p.Object.finding(Fault, path, unknownField(path)))
	}
	for _, err := range faults {
		path, message := refusal(err)
		found = append(found, p.Object.finding(Fault, path, message))
	}
	if !checked {
		found = append(found, p.Object.finding(Open, "", "the rules across fields are checked once these faults are mended"))
	}
	return found
}

// unknownField says what could stand there instead.
func unknownField(path string) string {
	message := fmt.Sprintf("unknown field %q", path)
	if fields := kind().Fields(path); len(fields) > 0 {
		message += ": the fields here are " + strings.Join(fields, ", ")
	}
	return message
}

// wholeObject is the field of a fault that belongs to none.
var wholeObject = (*field.Path)(nil).String()

// refusal is where a fault is, and the server's sentence without what the place
// says already: the field once more, values that are long or only named by their type.
func refusal(err *field.Error) (path, message string) {
	if err.Field == wholeObject { // the sentence begins with the name of a field: metadata.name must be …
		path, _, _ = strings.Cut(err.Detail, " ")
		return path, err.Detail
	}
	short := *err
	short.Detail = strings.TrimPrefix(err.Detail, err.Field+" in body ")
	if text, ok := err.BadValue.(string); ok && (len(text) > longest || err.Type == field.ErrorTypeTypeInvalid) {
		short.BadValue = field.OmitValueType{}
	}
	return err.Field, short.Error()
}

// longest is the length of a value that is shown.
const longest = 64
