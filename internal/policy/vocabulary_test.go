// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// world is what the documents of a file hold.
type world struct {
	policies []*v1alpha1.FunnelPolicy
	services map[types.NamespacedName]*corev1.Service
	// labels of namespaces.
	labels map[string]map[string]string
	pods   []*corev1.Pod
}

// mustRead reads a file of YAML documents and skips those of other kinds.
func mustRead(t *testing.T, path string) world {
	t.Helper()
	return mustReadText(t, mustReadFile(t, path))
}

func mustReadFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func mustReadText(t *testing.T, text string) world {
	t.Helper()
	w := world{services: map[types.NamespacedName]*corev1.Service{}, labels: map[string]map[string]string{}}
	for _, document := range strings.Split("\n"+text, "\n---\n") {
		switch kindOf(t, document) {
		case "FunnelPolicy":
			w.policies = append(w.policies, must[v1alpha1.FunnelPolicy](t, document))
		case "Service":
			s := must[corev1.Service](t, document)
			w.services[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}] = s
		case "Namespace":
			n := must[corev1.Namespace](t, document)
			w.labels[n.Name] = n.Labels
		case "Deployment":
			d := must[appsv1.Deployment](t, document)
			w.pods = append(w.pods, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Labels: d.Spec.Template.Labels}, Spec: d.Spec.Template.Spec,
			})
		case "Pod":
			w.pods = append(w.pods, must[corev1.Pod](t, document))
		}
	}
	return w
}

// released is an annotation by which a case says Cluster.Released.
const released = "released"

// cluster is what a policy of this world depends on.
func (w world) cluster(p *v1alpha1.FunnelPolicy) Cluster {
	in := Cluster{
		Services:   w.services,
		NamedPorts: map[string][]uint16{},
		Labels:     w.labels[p.Namespace],
		Released:   p.Annotations[released] != "",
	}
	name := BackendName(p)
	for _, other := range w.policies {
		if other.Namespace == name.Namespace && other.Name == name.Name {
			in.Backend = other
		}
	}
	selector, _ := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	for _, pod := range w.pods {
		if pod.Namespace == p.Namespace && selector.Matches(labels.Set(pod.Labels)) {
			for _, port := range pod.Spec.Containers[0].Ports {
				key := PortKey(port.Protocol, port.Name)
				in.NamedPorts[key] = append(in.NamedPorts[key], uint16(port.ContainerPort))
			}
		}
	}
	return in
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
