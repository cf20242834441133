// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

var required = []string{"--namespace=sfunnel-system", "--attacher-image=attacher:1"}

func TestBadFlagsAreNamedAndEndWith2(t *testing.T) {
	rows := []struct {
		name string
		args []string
		want string
	}{
		{"no image", []string{"--namespace=x"}, "manager: flag -attacher-image is required\n"},
		{"no namespace", []string{"--attacher-image=x"}, "manager: flag -namespace (or $POD_NAMESPACE) is required\n"},
		{"both", nil, "manager: flag -attacher-image is required\nmanager: flag -namespace (or $POD_NAMESPACE) is required\n"},
		{"no digest", []string{"--namespace=x", "--attacher-image=registry.example/attacher:1", "--require-attacher-digest"},
			"manager: flag -attacher-image: registry.example/attacher:1 is not pinned: want NAME@sha256: and 64 hexadecimal digits, or -require-attacher-digest=false\n"},
		{"half a digest", []string{"--namespace=x", "--attacher-image=attacher@sha256:0123", "--require-attacher-digest"}, "is not pinned"},
		{"no time", append(slices.Clone(required), "--keep-deleted-rules=0"), "manager: flag -keep-deleted-rules: want a positive duration\n"},
		{"an argument", append(slices.Clone(required), "x"), `manager: unexpected arguments ["x"]`},
		{"an unknown flag", []string{"--kind"}, "flag provided but not defined: -kind"},
		{"pull policy", []string{"--attacher-image-pull-policy=Sometimes"}, "want IfNotPresent, Always or Never"},
		{"no amount", []string{"--attacher-memory=much"}, "quantities must match"},
		{"zero", []string{"--attacher-cpu=0"}, "want a positive amount"},
		{"level", []string{"--log-level=loud"}, `invalid value "loud" for flag -log-level`},
		{"format", []string{"--log-format=xml"}, "want json or text"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			code, stderr := mustEnd(row.args)
			if code != 2 || !strings.Contains(stderr, row.want) {
				t.Errorf("status %d, stderr %q", code, stderr)
			}
		})
	}
}

func TestHelpNamesEveryFlagAndEndsWith0(t *testing.T) {
	code, stderr := mustEnd([]string{"--help"})
	if code != 0 {
		t.Errorf("status %d", code)
	}
	for _, flag := range []string{"admission-policies", "attacher-cpu", "attacher-image", "attacher-image-pull-policy", "attacher-memory", "attacher-selinux-type", "health-probe-bind-address", "kubeconfig",
		"keep-deleted-rules", "leader-elect", "log-format", "log-level", "metrics-bind-address", "namespace", "pprof-bind-address", "require-attacher-digest", "webhook", "webhook-cert-dir", "webhook-port"} {
		if !strings.Contains(stderr, "\n  -"+flag+" ") && !strings.Contains(stderr, "\n  -"+flag+"\n") {
			t.Errorf("the help does not name %s", flag)
		}
	}
	for _, preset := range []string{"(default 100m)", "(default 128Mi)", "(default IfNotPresent)", "(default INFO)", "(default json)"} {
		if !strings.Contains(stderr, preset) {
			t.Errorf("the help does not tell %s", preset)
		}
	}
}

func TestFlagsReachTheInjection(t *testing.T) {
	args := append([]string{"--attacher-image-pull-policy=Never", "--attacher-memory=1Gi", "--attacher-selinux-type=spc_t"}, required[1:]...)
	opts, err := parse(args, func(name string) string { return map[string]string{"POD_NAMESPACE": "own"}[name] }, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if opts.namespace != "own" {
		t.Errorf("namespace %q", opts.namespace)
	}
	if got := opts.inject; got.Image != "attacher:1" || got.PullPolicy != corev1.PullNever || got.Memory.String() != "1Gi" || got.SELinuxType != "spc_t" || got.CPU.String() != "100m" {
		t.Errorf("got %+v", got)
	}
}

func TestPinnedImageIsAccepted(t *testing.T) {
	image := "registry.example:5000/attacher@sha256:" + strings.Repeat("0f", 32)
	opts, err := parse([]string{"--namespace=x", "--require-attacher-digest", "--attacher-image=" + image}, func(string) string { return "" }, &bytes.Buffer{})
	if err != nil || opts.inject.Image != image {
		t.Errorf("%v, %q", err, opts.inject.Image)
	}
}

func TestWithoutClusterOrCertificateItFailsWith1(t *testing.T) {
	rows := []struct {
		name string
		args []string
		want string
	}{
		{"no kubeconfig", []string{"--kubeconfig=" + filepath.Join(t.TempDir(), "none")}, "no such file or directory"},
		{"no certificate", []string{"--webhook-cert-dir=" + t.TempDir()}, "manager: read the certificate of -webhook-cert-dir: open "},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			code, stderr := mustEnd(append(row.args, required...))
			if code != 1 || !strings.Contains(stderr, row.want) {
				t.Errorf("status %d, stderr %q", code, stderr)
			}
		})
	}
}

// mustEnd runs the program without an environment.
func mustEnd(args []string) (int, string) {
	var stderr bytes.Buffer
	code := run(context.Background(), args, func(string) string { return "" }, &stderr)
	return code, stderr.String()
}
