// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// mustRead reads FunnelPolicies and Services from a file of YAML documents and
// skips documents of other kinds.
func mustRead(t *testing.T, path string) ([]*v1alpha1.FunnelPolicy, map[types.NamespacedName]*corev1.Service) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var policies []*v1alpha1.FunnelPolicy
	services := map[types.NamespacedName]*corev1.Service{}
	for _, document := range strings.Split("\n"+string(text), "\n---\n") {
		switch kindOf(t, document) {
		case "FunnelPolicy":
			policies = append(policies, must[v1alpha1.FunnelPolicy](t, document))
		case "Service":
			s := must[corev1.Service](t, document)
			services[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}] = s
		}
	}
	return policies, services
}

func kindOf(t *testing.T, document string) string {
	t.Helper()
	var object struct{ Kind string }
	if err := yaml.Unmarshal([]byte(document), &object); err != nil {
		t.Fatalf("%v in:\n%s", err, document)
	}
	return object.Kind
}

// must reads one object; keys that it does not know are an error.
func must[T any](t *testing.T, document string) *T {
	t.Helper()
	object := new(T)
	if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
		t.Fatalf("%v in:\n%s", err, document)
	}
	return object
}

// withRules is a policy with those rules in YAML.
func withRules(t *testing.T, rules string) *v1alpha1.FunnelPolicy {
	t.Helper()
	p := &v1alpha1.FunnelPolicy{}
	p.Namespace, p.Name = "shop", "web"
	p.Spec.Rules = *must[v1alpha1.Rules](t, rules)
	return p
}

// withText is a policy with those rules in the rule language.
func withText(egress, ingress string) *v1alpha1.FunnelPolicy {
	p := &v1alpha1.FunnelPolicy{}
	p.Namespace, p.Name = "shop", "web"
	p.Spec.Rules.Text = &v1alpha1.RulesText{Egress: egress, Ingress: ingress}
	return p
}
