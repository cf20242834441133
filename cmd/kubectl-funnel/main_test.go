// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/golden"
)

// ran is what one run left.
type ran struct {
	code           int
	stdout, stderr string
}

func (r ran) String() string {
	return fmt.Sprintf("exit %d\n--- stdout\n%s--- stderr\n%s", r.code, r.stdout, r.stderr)
}

func runWith(stdin string, args ...string) ran {
	var stdout, stderr bytes.Buffer
	code := run(context.Background(), args, outside{strings.NewReader(stdin), &stdout, &stderr})
	return ran{code, stdout.String(), stderr.String()}
}

func TestCommandsPrintWhatTheGoldenFilesSay(t *testing.T) {
	for name, line := range map[string]string{
		"inject":           "inject -f testdata/shop.yaml -f testdata/job.yaml -n shop --image attacher:1 --image-pull-policy Never --cpu 10m --memory 1Gi",
		"inject-denied":    "inject -f testdata/denied.yaml --image attacher:1 --policy web",
		"render":           "render -f testdata/shop.yaml --address shop/web=10.96.0.1 --address shop/web=fd00::1",
		"render-configmap": "render -f testdata/shop.yaml --address web=10.96.0.1 -n shop -o configmap",
		"render-open":      "render -f testdata/shop.yaml",
		"lint":             "lint -f testdata/shop.yaml",
		"lint-fault":       "lint -f testdata/denied.yaml -f testdata/fault.yaml",
	} {
		golden.Compare(t, "testdata/"+name+".golden", runWith("", strings.Fields(line)...).String())
	}
}

// TestRenderedConfigMapsAreAllOrNone: what is printed goes to a server.
func TestRenderedConfigMapsAreAllOrNone(t *testing.T) {
	got := runWith("", "render", "-f", "testdata/shop.yaml", "-o", "configmap")
	if got.code != exitFound || got.stdout != "" || !strings.Contains(got.stderr, "AddressPending") {
		t.Errorf("got %v", got)
	}
}

func TestInjectWithPolicyTakesEveryPod(t *testing.T) {
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: app, image: x}]}\n"
	got := runWith(pod, "inject", "-f", "-", "--image", "attacher:1", "--policy", "web", "--policy", "metrics")
	if got.code != exitDone || !strings.Contains(got.stdout, "web-funnel") || !strings.Contains(got.stdout, "metrics-funnel") {
		t.Errorf("got %v", got)
	}
}

// TestInjectCounts: who pipes the output on sees what was left as it is.
func TestInjectCounts(t *testing.T) {
	const policy = "apiVersion: sfunnel.io/v1alpha1\nkind: FunnelPolicy\nmetadata: {name: web}\n" +
		"spec: {podSelector: {matchLabels: {app: web}}, rules: {text: {ingress: tcp dport 22 drop}}}\n"
	pod := func(name, labels string) string {
		return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", labels: {" + labels + "}}\nspec: {containers: [{name: app, image: x}]}\n"
	}
	others := pod("b", "app: db") + pod("c", "app: web, sfunnel.io/inject: 'false'")
	got := runWith(policy+pod("a", "app: web")+others, "inject", "-f", "-", "--image", "attacher:1")
	if got.code != exitDone || got.stderr != "kubectl funnel: inject: 1 of 3 workloads injected\n" {
		t.Errorf("got %v", got)
	}
	if got, want := runWith(policy+others, "inject", "-f", "-", "--image", "attacher:1"), (ran{exitDone, policy + others, "kubectl funnel: inject: 0 of 2 workloads injected\n"}); got != want {
		t.Errorf("got %v", got)
	}
}

// TestFlagsHaveKubectlsNames: the long ones say the same.
func TestFlagsHaveKubectlsNames(t *testing.T) {
	for short, long := range map[string]string{
		"lint -f testdata/denied.yaml -n shop":                                                 "lint --filename testdata/denied.yaml --namespace=shop",
		"render -f testdata/shop.yaml --address web=10.96.0.1 -n shop -o configmap":            "render --filename=testdata/shop.yaml --address web=10.96.0.1 --namespace shop --output configmap",
		"inject -f testdata/shop.yaml -n shop --image attacher:1 --selinux-type spc_t":         "inject --filename testdata/shop.yaml --namespace shop --image attacher:1 --selinux-type spc_t",
		"inject -f testdata/job.yaml -f testdata/shop.yaml -n shop --image a --policy nightly": "inject --image a --policy nightly --filename testdata/job.yaml --filename testdata/shop.yaml --namespace shop",
	} {
		if one, two := runWith("", strings.Fields(short)...), runWith("", strings.Fields(long)...); one != two || one.code == exitWrong {
			t.Errorf("%s: %v\n%s: %v", short, one, long, two)
		}
	}
}

// TestInjectAsksNoPolicyThatAServerRefuses: whom it selects is not known.
func TestInjectAsksNoPolicyThatAServerRefuses(t *testing.T) {
	const pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {app: web}}\nspec: {containers: [{name: app, image: x}]}\n"
	for selector, want := range map[string]string{
		"podselector: {matchLabels: {app: web}}":                                     `unknown field "spec.podselector"`,
		"podSelector: {matchExpressions: [{key: app, operator: in, values: [web]}]}": "operator",
		"podSelector: {matchExpressions: [{key: 'the app', operator: Exists}]}":      "the app",
	} {
		policy := "apiVersion: sfunnel.io/v1alpha1\nkind: FunnelPolicy\nmetadata: {name: web}\nspec: {" + selector + ", rules: {text: {ingress: tcp dport 22 drop}}}\n"
		got := runWith(policy+pod, "inject", "-f", "-", "--image", "attacher:1")
		if got.code != exitFound || got.stdout != "" || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: got %v", selector, got)
		}
		if got := runWith(policy+pod, "inject", "-f", "-", "--image", "attacher:1", "--policy", "web"); got.code != exitDone {
			t.Errorf("%s, named: got %v", selector, got)
		}
	}
}

func TestFoldersAreReadInTheOrderOfNames(t *testing.T) {
	got := runWith("", "lint", "testdata", "-f", "testdata")
	if got.code != exitWrong || !strings.Contains(got.stderr, `lint: unexpected ["testdata"]`) {
		t.Errorf("got %v", got)
	}
	got = runWith("", "lint", "-f", "testdata")
	if denied, fault := strings.Index(got.stdout, "denied.yaml"), strings.Index(got.stdout, "fault.yaml"); got.code != exitFound || denied < 0 || fault < denied {
		t.Errorf("got %v", got)
	}
}

func TestWrongUseIsRefused(t *testing.T) {
	for line, want := range map[string]string{
		"frob":             `kubectl funnel: unknown command "frob"; see kubectl funnel help`,
		"inject -f - x":    `inject: unexpected ["x"]`,
		"inject -f -":      "inject: --image is required",
		"inject --image a": "name the input by -f FILE",
		"inject --image a -f - --image-pull-policy Ever":            `--image-pull-policy "Ever": want IfNotPresent, Always or Never`,
		"inject --image a -f - --policy a/b":                        `inject: --policy "a/b": want the name of a FunnelPolicy of the pods' namespace`,
		"inject --image a -f - --policy=":                           `inject: --policy "": want the name of a FunnelPolicy`,
		"inject --image a -f - --policy " + strings.Repeat("x", 53): `want the name of a FunnelPolicy`,
		"inject --image a -f - --cpu 0":                             `--cpu "0": want a positive amount`,
		"inject --image a -f - --frob":                              "inject: unknown flag: --frob",
		"inject --image a -f -":                                     "inject: the input has no FunnelPolicy: name the policies' files by -f, or policies by --policy",
		"inject --image a -f absent.yaml":                           "open absent.yaml: no such file or directory",
		"render -f -":                                               "render: the input has no FunnelPolicy",
		"render -f - -o yaml":                                       `render: output "yaml": want configmap`,
		"render -f - x":                                             `render: unexpected ["x"]`,
		"render -f testdata/shop.yaml --address web":                `--address "web": want [NAMESPACE/]SERVICE=IP`,
		"render -f testdata/shop.yaml --address x=::1":              `--address "x=::1": the input has no Service default/x`,
		"lint":                       "name the input by -f FILE",
		"status a b":                 "status: want at most one POLICY",
		"status a -A":                "status: want at most one POLICY, and none with -A",
		"status -o yaml":             `status: output "yaml": want json`,
		"status --kubeconfig absent": "absent: no such file",
	} {
		got := runWith("", strings.Fields(line)...)
		if got.code != exitWrong || got.stdout != "" || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: got %v\nwant %s", line, got, want)
		}
	}
}

func TestVersion(t *testing.T) {
	if got := runWith("", "version"); got.code != exitDone || !strings.HasPrefix(got.stdout, "kubectl-funnel ") {
		t.Errorf("got %v", got)
	}
	if got := runWith("", "version", "x"); got.code != exitWrong || !strings.Contains(got.stderr, `version: unexpected ["x"]`) {
		t.Errorf("got %v", got)
	}
}

// TestFaultsOfTheInputAreToldFromWrongUse: by the exit status, and each with its place.
func TestFaultsOfTheInputAreToldFromWrongUse(t *testing.T) {
	const policy = "testdata/unreadable.yaml:5: fault: FunnelPolicy unreadable: spec.podSelector.matchLabels.app: "
	for input, want := range map[string]string{
		"-f testdata/unreadable.yaml":      policy,
		"-f -":                             "-:2: fault: Pod a: spec: want v1.PodSpec, found number",
		"-f - -f testdata/unreadable.yaml": policy,
		"-f testdata/broken.txt":           "testdata/broken.txt: in the document at line 1: yaml: ",
	} {
		for _, command := range []string{"lint", "render", "inject --image a"} {
			got := runWith("{apiVersion: v1, kind: Pod, metadata: {name: a},\nspec: 3}\n", strings.Fields(command+" "+input)...)
			if got.code != exitFound || !strings.Contains(got.stdout+got.stderr, want) || command != "lint" && got.stdout != "" {
				t.Errorf("%s %s: got %v", command, input, got)
			}
		}
	}
}

func TestHelpFitsAScreen(t *testing.T) {
	for _, line := range []string{"", "help", "inject --help"} {
		if got := runWith("", strings.Fields(line)...); got.code != exitDone || got.stdout != usage {
			t.Errorf("%q: %v", line, got)
		}
	}
	for _, line := range strings.Split(usage, "\n") {
		if len([]rune(line)) > 100 {
			t.Errorf("%d columns: %s", len([]rune(line)), line)
		}
	}
}
