// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/sfunnel-io/funnel-operator/internal/inject"
)

// nowhere is the address of what is not served.
const nowhere = "0"

// options is what flags decide.
type options struct {
	namespace   string
	leaderElect bool
	metrics     string
	probes      string
	profiles    string
	keepDeleted time.Duration
	webhook     webhookOptions
	// admissionPolicies inject pods, and the webhook does not.
	admissionPolicies bool
	inject            inject.Options
	log               logOptions
}

type webhookOptions struct {
	serve   bool
	port    int
	certDir string
}

// parse reads the flags. What is wrong with them, and their help, goes to
// stderr.
func parse(args []string, getenv func(string) string, stderr io.Writer) (options, error) {
	opts := options{inject: inject.Options{
		PullPolicy: corev1.PullIfNotPresent,
		CPU:        inject.DefaultCPU.DeepCopy(),
		Memory:     inject.DefaultMemory.DeepCopy(),
	}}
	flags := flag.NewFlagSet("manager", flag.ContinueOnError)
	flags.SetOutput(stderr)
	config.RegisterFlags(flags)

	flags.StringVar(&opts.namespace, "namespace", getenv("POD_NAMESPACE"), "The operator's own namespace; $POD_NAMESPACE when not given.")
	flags.BoolVar(&opts.leaderElect, "leader-elect", true, "Reconcile on one replica at a time. The webhook answers on all.")
	flags.StringVar(&opts.metrics, "metrics-bind-address", ":8443", `Where metrics are served, by TLS and to authorised clients only; "0" for nowhere.`)
	flags.StringVar(&opts.probes, "health-probe-bind-address", ":8081", `Where /healthz and /readyz answer; "0" for nowhere.`)
	flags.StringVar(&opts.profiles, "pprof-bind-address", nowhere, `Where the Go runtime's profiles are served, without TLS and to everybody who can connect, such as 127.0.0.1:6060; "0" for nowhere.`)
	flags.BoolVar(&opts.webhook.serve, "webhook", true, "Inject pods, as a webhook of the API server. When false, admission policies or the pods' manifests have to (docs/install.md).")
	flags.BoolVar(&opts.admissionPolicies, "admission-policies", false, "With -webhook=false: admission policies inject pods. When false, too, their manifests have to, and conditions say so.")
	flags.IntVar(&opts.webhook.port, "webhook-port", 9443, "The port on which the webhook answers.")
	flags.StringVar(&opts.webhook.certDir, "webhook-cert-dir", "", "A directory with tls.crt and tls.key that somebody else renews, and who then also writes the caBundle. When not given the manager keeps a certificate of its own.")
	flags.StringVar(&opts.inject.Image, "attacher-image", "", "The image of the injected init container, best by digest (registry.example/attacher@sha256:…). Required.")
	pinned := flags.Bool("require-attacher-digest", false, "Refuse an -attacher-image that is not pinned by its digest: a tag may lead to another image tomorrow, which pods would run with the init container's capabilities.")
	flags.Var(pullPolicy{&opts.inject.PullPolicy}, "attacher-image-pull-policy", "When nodes pull it: IfNotPresent, Always or Never.")
	flags.Var(quantity{&opts.inject.CPU}, "attacher-cpu", "CPU request and limit of the injected init container. BestEffort pods get none.")
	flags.Var(quantity{&opts.inject.Memory}, "attacher-memory", "Memory request and limit of the injected init container. BestEffort pods get none.")
	flags.StringVar(&opts.inject.SELinuxType, "attacher-selinux-type", "", "SELinux type of the injected container, such as spc_t, for nodes that enforce SELinux: what containers have by default may not use BPF. When not given the runtime decides.")
	flags.DurationVar(&opts.keepDeleted, "keep-deleted-rules", 10*time.Minute, "How long the rules of a deleted policy stay at least, for pods that start again on another node. They stay while pods mount them.")
	flags.TextVar(&opts.log.level, "log-level", slog.LevelInfo, "The least level to log: debug, info, warn or error.")
	flags.TextVar(&opts.log.format, "log-format", logFormat("json"), "How to log: json or text.")

	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if err := opts.check(flags.Args(), *pinned); err != nil {
		fmt.Fprintln(stderr, err)
		return options{}, err
	}
	return opts, nil
}

// digested is the name of an image that can't change.
var digested = regexp.MustCompile(`@sha256:[0-9a-f]{64}$`)

// check names everything that is missing or too much.
func (o options) check(rest []string, pinned bool) error {
	var faults []error
	if o.inject.Image == "" {
		faults = append(faults, errors.New("manager: flag -attacher-image is required"))
	} else if pinned && !digested.MatchString(o.inject.Image) {
		faults = append(faults, fmt.Errorf("manager: flag -attacher-image: %s is not pinned: want NAME@sha256: and 64 hexadecimal digits, or -require-attacher-digest=false", o.inject.Image))
	}
	if o.keepDeleted <= 0 {
		faults = append(faults, errors.New("manager: flag -keep-deleted-rules: want a positive duration"))
	}
	if o.namespace == "" {
		faults = append(faults, errors.New("manager: flag -namespace (or $POD_NAMESPACE) is required"))
	}
	if len(rest) > 0 {
		faults = append(faults, fmt.Errorf("manager: unexpected arguments %q", rest))
	}
	return errors.Join(faults...)
}

// logOptions say what is logged, and how.
type logOptions struct {
	level  slog.Level
	format logFormat
}

func (o logOptions) handler(w io.Writer) slog.Handler {
	handling := &slog.HandlerOptions{Level: o.level}
	if o.format == "text" {
		return slog.NewTextHandler(w, handling)
	}
	return slog.NewJSONHandler(w, handling)
}

type logFormat string

var _ encoding.TextUnmarshaler = (*logFormat)(nil)

func (f logFormat) MarshalText() ([]byte, error) { return []byte(f), nil }

func (f *logFormat) UnmarshalText(text []byte) error {
	if *f = logFormat(text); *f != "json" && *f != "text" {
		return errors.New("want json or text")
	}
	return nil
}

// quantity is a flag with a positive amount (100m, 64Mi).
type quantity struct{ *resource.Quantity }

func (q quantity) String() string {
	if q.Quantity == nil {
		return ""
	}
	return q.Quantity.String()
}

func (q quantity) Set(text string) error {
	amount, err := resource.ParseQuantity(text)
	if err != nil {
		return err
	}
	if amount.Sign() <= 0 {
		return errors.New("want a positive amount")
	}
	*q.Quantity = amount
	return nil
}

type pullPolicy struct{ *corev1.PullPolicy }

func (p pullPolicy) String() string {
	if p.PullPolicy == nil {
		return ""
	}
	return string(*p.PullPolicy)
}

func (p pullPolicy) Set(text string) error {
	switch policy := corev1.PullPolicy(text); policy {
	case corev1.PullIfNotPresent, corev1.PullAlways, corev1.PullNever:
		*p.PullPolicy = policy
		return nil
	}
	return errors.New("want IfNotPresent, Always or Never")
}
