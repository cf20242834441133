// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/sfunnel-io/funnel-operator/internal/golden"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

var options = inject.Options{Image: "attacher:1"}

func TestInjectGolden(t *testing.T) {
	s, w := mustRead(t, "testdata/kinds.yaml")
	if err := Inject([]*Stream{s}, w.Selecting, options); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "testdata/kinds.golden", s.String())
}

// What no policy concerns comes out as it went in, whatever it looks like.
func TestWithoutPoliciesNothingChanges(t *testing.T) {
	texts := map[string]string{
		"nothing": "", "a comment": "# x", "separators": "---\n---\n# x\n---", "carriage returns": "---\r\na: 1\r\n---\r\nb: 2\r\n",
		"separator in a text": "a: |\n  x\n  ---\n  y\n", "no map": "- 1\n- 2\n", "JSON": `{"kind": "Pod", "apiVersion": "v1", "spec": {}}`,
	}
	for _, pattern := range []string{"testdata/*.yaml", "../../config/samples/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			texts[file] = string(mustFile(t, file))
		}
	}
	for name, text := range texts {
		s, err := Parse("x", text)
		if err == nil {
			err = Inject([]*Stream{s}, func(*corev1.Pod) []string { return nil }, options)
		}
		if err != nil && !strings.Contains(err.Error(), "no FunnelPolicy of the namespace selects the pod yet") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(text, s.String()); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestInjectTwiceChangesNothing(t *testing.T) {
	once := mustInject(t, string(mustFile(t, "testdata/kinds.yaml")))
	if diff := cmp.Diff(once, mustInject(t, once)); diff != "" {
		t.Error(diff)
	}
}

// The pods of the package that injects are injected alike from files, and what
// surrounds them stays: comments above all.
func TestInjectDoesWhatInjectPodDoes(t *testing.T) {
	files, _ := filepath.Glob("../inject/testdata/*.yaml")
	for _, file := range files {
		text := string(mustFile(t, file))
		want := &corev1.Pod{}
		mustUnmarshal(t, text, want)
		if err := inject.Pod(want, []string{"web"}, options); err != nil {
			t.Fatal(err)
		}
		injected := mustInject(t, text)
		got := &corev1.Pod{}
		mustUnmarshal(t, injected, got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", file, diff)
		}
		if strings.Count(text, "#") != strings.Count(injected, "#") {
			t.Errorf("%s: comments are lost:\n%s", file, injected)
		}
	}
	if len(files) < 10 {
		t.Errorf("found %d pods", len(files))
	}
}

// TestAnchorsWithoutAliasMayBeEdited: nothing refers to them.
func TestAnchorsWithoutAliasMayBeEdited(t *testing.T) {
	got := mustInject(t, "kind: Job\napiVersion: batch/v1\nmetadata: {name: a}\nspec: &s {template: &t {metadata: &m {labels: &l {a: b}}, spec: {volumes: &v [], containers: []}}}\n")
	if strings.Count(got, "&") != 5 || !strings.Contains(got, "sfunnel.io/injected") {
		t.Errorf("got %s", got)
	}
}

func TestInjectNamesThePlaceOfEachFault(t *testing.T) {
	const optOut = `, or opt the pod out with the label sfunnel.io/inject: "false"`
	const job = "kind: Job\napiVersion: batch/v1\nmetadata: {name: a}\n"
	for text, want := range map[string]string{
		"kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec:\n  hostNetwork: true\n  containers: []": "x.yaml:5: Pod a: spec.hostNetwork: a FunnelPolicy selects the pod, " +
			"and its rules would hold for the whole node: use the pod network" + optOut,
		"kind: Job\napiVersion: batch/v1\nmetadata: {name: a}\nspec: {template: {spec: {containers: 3}}}": "x.yaml:4: fault: Job a: " +
			"spec.template.spec.containers: want []v1.Container, found number",
		"kind: Pod\napiVersion: v1\nx: &m {name: a}\nmetadata: *m\nspec: {containers: []}": "x.yaml:1: Pod a: metadata: write it out here: an alias can't be edited",
		"kind: Job\napiVersion: batch/v1\nmetadata: {name: a}\nx: &m {labels: {app: web}}\nspec: {template: {metadata: {<<: *m}, spec: {containers: []}}}": "x.yaml:1: Job a: " +
			"labels: write it out here, instead of what is merged (<<): that would hide it",
		"kind: Pod\napiVersion: v1\nmetadata: {name: a, labels: &l {app: web}, annotations: *l}\nspec: {containers: []}": "x.yaml:1: Pod a: " +
			"labels: write it out here, without the anchor &l: what refers to it would change, too",
		job + "spec: {template: &t {spec: {containers: []}}}\nx: *t":                     "x.yaml:1: Job a: template: write it out here, without the anchor &t: what refers to it would change, too",
		job + "spec: &s {template: {spec: {containers: []}}}\nx: *s":                     "x.yaml:1: Job a: spec: write it out here, without the anchor &s: what refers to it would change, too",
		job + "spec: {template: {spec: {containers: [], volumes: &v []}}}\nx: *v":        "x.yaml:1: Job a: volumes: write it out here, without the anchor &v: what refers to it would change, too",
		job + "spec: {template: {spec: {initContainers: &i [], containers: []}}}\nx: *i": "x.yaml:1: Job a: initContainers: write it out here, without the anchor &i: what refers to it would change, too",
		"apiVersion: v1\nkind: List\nitems:\n- &p {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: []}}\n- {apiVersion: v1, kind: ConfigMap, x: *p}": "x.yaml:4: Pod a: " +
			"write it out here, without the anchor &p: what refers to it would change, too",
	} {
		s, err := Parse("x.yaml", text)
		if err != nil {
			t.Fatal(err)
		}
		err = Inject([]*Stream{s}, func(*corev1.Pod) []string { return []string{"web"} }, options)
		if err == nil || err.Error() != want {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

// TestWhatCantBeReadIsAFaultWithItsPlace, and the rest is read.
func TestWhatCantBeReadIsAFaultWithItsPlace(t *testing.T) {
	const rest = "\n---\nkind: Pod\napiVersion: v1\nmetadata: {name: rest}\nspec: {containers: []}\n"
	for text, want := range map[string]string{
		"kind: Deployment\napiVersion: apps/v1\nmetadata: {name: a}\nspec: {replicas: 1}":                                                                     "", // a patch
		"kind: Job\napiVersion: batch/v1\nmetadata: {name: a}\nspec: {}":                                                                                      "",
		"kind: Job\napiVersion: batch/v1\nmetadata: {name: a}\nspec: 3":                                                                                       "x.yaml:4: fault: Job a: spec: want map[string]json.RawMessage, found number",
		"kind: Job\napiVersion: batch/v1\nmetadata: {name: a}\nspec:\n  template: x":                                                                          "x.yaml:5: fault: Job a: spec.template: want v1.Pod, found string",
		"kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec:\n  containers:\n  - ports: []\n  - ports:\n    - containerPort: 80\n    - containerPort: '80'": "x.yaml:9: fault: Pod a: spec.containers[1].ports[1].containerPort: want int32, found string",
		"kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec:\n  containers:\n  - args:\n    - {x:\n       1}":                                               "x.yaml:7: fault: Pod a: spec.containers[0].args[0]: want string, found object",
		"kind: Pod\napiVersion: v1\nmetadata:\n  name: a\n  labels:\n    app: 1\nspec: {containers: []}":                                                      "x.yaml:6: fault: Pod a: metadata.labels.app: want string, found number",
		"kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec:\n  containers:\n  - livenessProbe: {httpGet: {port: 1.5}}":                                     "x.yaml:5: fault: Pod a: spec.containers.livenessProbe.httpGet.port: want int32, found number 1.5",
		"kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec:\n  containers:\n  - resources: {limits: {cpu: lots}}":                                          "x.yaml:1: fault: Pod a: quantities must match",
		"kind: Service\napiVersion: v1\nmetadata: {name: a}\nspec:\n  ports:\n  - {port: http}":                                                               "x.yaml:6: fault: Service a: spec.ports[0].port: want int32, found string",
		"kind: Namespace\napiVersion: v1\nmetadata: {name: a, labels: []}":                                                                                    "x.yaml:3: fault: Namespace a: metadata.labels: want map[string]string, found array",
	} {
		s, err := Parse("x.yaml", text+rest)
		if err != nil {
			t.Fatal(err)
		}
		w := Read([]*Stream{s}, "default")
		got := ""
		if err := w.Unreadable(); err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) || (want == "") != (got == "") || len(w.pods) != 1 {
			t.Errorf("%s\n got %v, and %d pods\nwant %s", text, got, len(w.pods), want)
		}
	}
}

// TestListsMayUseAnchors: one item may define what another refers to.
func TestListsMayUseAnchors(t *testing.T) {
	s, err := Parse("x.yaml", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: &l {app: web}}}\n"+
		"- {apiVersion: v1, kind: ConfigMap, metadata: {name: b, labels: *l}}\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Objects) != 2 || !strings.Contains(string(s.Objects[1].json), `"app":"web"`) {
		t.Errorf("read %v", s.Objects)
	}
	const item = "[{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}]"
	for _, text := range []string{
		"x: &i " + item + "\napiVersion: v1\nkind: List\nitems: *i\n",
		"x: &i {items: " + item + "}\napiVersion: v1\nkind: List\n<<: *i\n",
	} {
		if _, err := Parse("x.yaml", text); err == nil || !strings.HasPrefix(err.Error(), "x.yaml:1: items: write the list out") {
			t.Errorf("%s\ngot %v", text, err)
		}
	}
}

// TestNamespacesHaveTheirName: as a label, which policies may ask for and no file says.
func TestNamespacesHaveTheirName(t *testing.T) {
	_, w := mustRead(t, "testdata/byname.yaml")
	for _, f := range w.Lint() {
		if f.Severity == Fault {
			t.Error(f)
		}
	}
}

// TestAllocateAddsAnAddress to the one that the file has.
func TestAllocateAddsAnAddress(t *testing.T) {
	_, w := mustRead(t, "testdata/byname.yaml")
	name := types.NamespacedName{Namespace: "telemetry", Name: "collector"}
	if err := w.Allocate(name, netip.MustParseAddr("fd00::10")); err != nil {
		t.Fatal(err)
	}
	if got := w.services[name].Spec.ClusterIPs; !slices.Equal(got, []string{"10.96.0.10", "fd00::10"}) {
		t.Errorf("cluster IPs %v", got)
	}
}

func TestParseNamesTheDocument(t *testing.T) {
	_, err := Parse("x.yaml", "a: 1\n---\nb: [\n")
	if err == nil || !strings.HasPrefix(err.Error(), "x.yaml: in the document at line 2: ") {
		t.Errorf("got %v", err)
	}
	_, err = Parse("x.yaml", "a: 1\n---\n# b\nb: 1\nb: 2\n")
	if err == nil || !strings.HasPrefix(err.Error(), "x.yaml:4: ") {
		t.Errorf("got %v", err)
	}
}

func TestLintGolden(t *testing.T) {
	_, w := mustRead(t, "testdata/lint.yaml")
	var b strings.Builder
	for _, f := range w.Lint() {
		b.WriteString(f.String() + "\n")
	}
	golden.Compare(t, "testdata/lint.golden", b.String())
}

// TestLintComparesPoliciesOnce: each with each, which allocations tell without a clock.
func TestLintComparesPoliciesOnce(t *testing.T) {
	allocations := func(policies int) float64 {
		var b strings.Builder
		for i := range policies {
			fmt.Fprintf(&b, "---\napiVersion: sfunnel.io/v1alpha1\nkind: FunnelPolicy\nmetadata: {name: p%d}\n"+
				"spec: {podSelector: {matchLabels: {app: p%d}}, rules: {text: {ingress: tcp dport 22 drop}}}\n", i, i)
		}
		s, err := Parse("x.yaml", b.String())
		if err != nil {
			t.Fatal(err)
		}
		w := Read([]*Stream{s}, "default")
		return testing.AllocsPerRun(1, func() { w.Lint() })
	}
	if few, many := allocations(20), allocations(40); many > 4*few {
		t.Errorf("%.0f allocations for 20 policies, %.0f for 40", few, many)
	}
}

func TestSamplesAreFreeOfFaults(t *testing.T) {
	files, _ := filepath.Glob("../../config/samples/*.yaml")
	for _, file := range files {
		_, w := mustRead(t, file)
		for _, f := range w.Lint() {
			if f.Severity == Fault {
				t.Error(f)
			}
		}
	}
}

func mustRead(t *testing.T, file string) (*Stream, *World) {
	t.Helper()
	s, err := Parse(file, string(mustFile(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	return s, Read([]*Stream{s}, "default")
}

// mustInject injects all pods but those that opted out, for the policy web.
func mustInject(t *testing.T, text string) string {
	t.Helper()
	s, err := Parse("x.yaml", text)
	if err == nil {
		err = Inject([]*Stream{s}, func(*corev1.Pod) []string { return []string{"web"} }, options)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}

func mustFile(t testing.TB, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func mustUnmarshal(t *testing.T, text string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
}

// A pod that the policy selects and its backend's Service does not lead to has no say in
// what a named port is.
func TestNamedPortsAreThoseOfPodsBehindTheService(t *testing.T) {
	pod := func(component string, number int) string {
		return fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: %s, labels: {app: web, component: %[1]s}}
spec: {containers: [{name: web, image: web, ports: [{name: http, containerPort: %d}]}]}
`, component, number)
	}
	s, err := Parse("x", `apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web}
spec: {clusterIP: 10.96.0.1, selector: {app: web, component: server}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: sfunnel.io/v1alpha1
kind: FunnelPolicy
metadata: {namespace: shop, name: web}
spec: {podSelector: {matchLabels: {app: web}}, backend: {service: web, through: {port: 80}, ports: [{port: 8443}]}}
`+pod("server", 8080)+pod("worker", 9090))
	if err != nil {
		t.Fatal(err)
	}
	w := Read([]*Stream{s}, "default")
	got := w.cluster(w.Policies[0].FunnelPolicy).NamedPorts
	if diff := cmp.Diff(map[string][]uint16{"TCP/http": {8080}}, got); diff != "" {
		t.Error(diff)
	}
}
