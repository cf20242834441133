// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// manifest is an object in YAML.
type manifest string

func (m manifest) object() *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	text, err := yaml.YAMLToJSON([]byte(m))
	Expect(err).NotTo(HaveOccurred(), string(m))
	Expect(json.UnmarshalCaseSensitivePreserveInts(text, &object.Object)).To(Succeed(), string(m))
	return object
}

// named is a policy of that name with that spec in YAML.
func named(name, spec string) manifest {
	return manifest(fmt.Sprintf("apiVersion: sfunnel.io/v1alpha1\nkind: FunnelPolicy\nmetadata: {namespace: default, name: %q}\nspec:\n%s\n", name, indent(spec)))
}

// spec is a policy with that spec.
func spec(text string) manifest { return named("case", text) }

// backend is a policy for pods behind a Service, with these lines in the place of
// those that are right.
func backend(lines string) manifest {
	fields := map[string]any{}
	for _, text := range []string{"service: web\nthrough: {port: 80}\nports: [{port: 8080}]", lines} {
		if err := yaml.Unmarshal([]byte(text), &fields); err != nil {
			panic(err) // before any case runs
		}
	}
	for name, value := range fields {
		if value == nil {
			delete(fields, name)
		}
	}
	text, err := yaml.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return spec("podSelector: {}\nbackend:\n" + indent(string(text)))
}

// refers is a policy for clients of that one.
func refers(policyRef string) manifest {
	return spec("podSelector: {}\nclient: {policyRef: " + policyRef + "}")
}

// with is a policy that is right and has these lines in its spec, too.
func with(lines string) manifest {
	return spec("podSelector: {}\nrules: {text: {egress: udp drop}}\n" + lines)
}

// selecting is a policy with that podSelector.
func selecting(selector string) manifest {
	return spec("podSelector: " + selector + "\nrules: {text: {egress: udp drop}}")
}

// holding is a policy with those rules.
func holding(rules string) manifest {
	return spec("podSelector: {}\nrules:\n" + indent(rules))
}

// rule is a policy with one egress rule.
func rule(text string) manifest {
	return holding("egress:\n- " + strings.TrimSpace(strings.ReplaceAll(text, "\n", "\n  ")))
}

// match is a policy with one rule that drops what matches.
func match(text string) manifest {
	return rule("drop: {}\nmatch: " + text)
}

// ports is a policy whose one rule matches those ports.
func ports(values string) manifest {
	return match("{protocol: TCP, destinationPorts: {values: " + values + "}}")
}

// source is a policy whose one rule matches that source.
func source(peer string) manifest {
	return match("{protocol: TCP, source: " + peer + "}")
}

// action is a policy whose one rule does that.
func action(text string) manifest {
	return rule("match: {protocol: TCP}\n" + text)
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}

// fault is why an object is refused: a field, and what is wrong with it.
type fault struct{ field, message string }

// refusals are the faults for which the API server does not create an object.
func refusals(m manifest) []fault {
	err := api.Create(ctx, m.object(), client.DryRunAll)
	if err == nil {
		return nil
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return []fault{{message: err.Error()}}
	}
	var faults []fault
	for _, cause := range status.Status().Details.Causes {
		if !strings.Contains(cause.Message, "some validation rules were not checked") {
			faults = append(faults, fault{cause.Field, cause.Message})
		}
	}
	return faults
}

// short has each fault in a line, without the value.
func short(faults []fault) []string {
	var lines []string
	for _, f := range faults {
		lines = append(lines, f.field+": "+wrongValue.ReplaceAllString(f.message, ""))
	}
	return lines
}

// wrongValue is how the API server begins most messages.
var wrongValue = regexp.MustCompile(`^Invalid value: (("[^"]*"|[0-9]+): )?`)
