// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"path/filepath"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/controllers"
	"github.com/sfunnel-io/funnel-operator/internal/status"
)

// The names of the operator's own objects, as in config/.
const (
	leaseName         = "sfunnel-manager"
	certificateSecret = "sfunnel-webhook-certificate"
	configurationName = "sfunnel"
	webhookService    = "sfunnel-webhook"
	metricsService    = "sfunnel-metrics"
)

// What the wiring needs, besides what controllers says of itself: the lease and
// its events, and the reviews of whoever reads metrics.
//
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=sfunnel-system,resources=leases,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=sfunnel-system,resources=leases,resourceNames=sfunnel-manager,verbs=get;update
// +kubebuilder:rbac:groups="",namespace=sfunnel-system,resources=events,verbs=create
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// serve runs the operator until the context ends.
func serve(ctx context.Context, opts options) error {
	source, err := certificateSource(opts)
	if err != nil {
		return err
	}
	mgr, err := newManager(opts, source)
	if err != nil {
		return err
	}
	if err := setup(mgr, opts, source); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// certificates are what the webhook and the metrics present.
type certificates struct {
	get func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// own is nil when somebody else renews the certificate.
	own *controllers.WebhookCertificate
	// files is nil when the manager renews the certificate.
	files *certwatcher.CertWatcher
}

func certificateSource(opts options) (certificates, error) {
	if dir := opts.webhook.certDir; dir != "" {
		files, err := certwatcher.New(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
		if err != nil {
			return certificates{}, fmt.Errorf("read the certificate of -webhook-cert-dir: %w", err)
		}
		return certificates{get: files.GetCertificate, files: files}, nil
	}
	own := &controllers.WebhookCertificate{
		Secret: types.NamespacedName{Namespace: opts.namespace, Name: certificateSecret},
		Names:  []string{webhookService + "." + opts.namespace + ".svc", metricsService + "." + opts.namespace + ".svc"},
	}
	if opts.webhook.serve {
		own.Configuration = configurationName
	}
	return certificates{get: own.GetCertificate, own: own}, nil
}

func newManager(opts options, source certificates) (ctrl.Manager, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, err
	}
	// As Kubernetes' own controllers do: the API server is near, and would compress each event
	// of each watch for itself.
	config.DisableCompression = true
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	secure := func(c *tls.Config) {
		c.MinVersion = tls.VersionTLS13
		c.GetCertificate = source.get
	}
	return ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         cacheOptions(source),
		LeaderElection:                opts.leaderElect,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       opts.namespace,
		LeaderElectionReleaseOnCancel: true, // the program ends with the manager
		HealthProbeBindAddress:        opts.probes,
		PprofBindAddress:              opts.profiles,
		WebhookServer:                 webhook.NewServer(webhook.Options{Port: opts.webhook.port, TLSOpts: []func(*tls.Config){secure}}),
		Metrics: metricsserver.Options{
			BindAddress:    opts.metrics,
			SecureServing:  true,
			FilterProvider: authorize,
			TLSOpts:        []func(*tls.Config){secure},
		},
	})
}

func cacheOptions(source certificates) cache.Options {
	opts := controllers.CacheOptions()
	if source.own != nil {
		source.own.LimitCache(&opts)
	}
	return opts
}

// setup adds everything that runs.
func setup(mgr ctrl.Manager, opts options, source certificates) error {
	if err := addCertificates(mgr, source); err != nil {
		return err
	}
	if opts.webhook.serve {
		if err := addWebhook(mgr, opts); err != nil {
			return err
		}
	}
	if err := reconciler(opts, source).SetupWithManager(mgr); err != nil {
		return err
	}
	if err := mgr.Add(giveBack{}); err != nil {
		return err
	}
	return mgr.AddHealthzCheck("ping", healthz.Ping)
}

// reconciler knows who injects pods. Whether the webhook's configuration is there it asks
// where the manager keeps it: who renews the certificate themselves need not let it.
func reconciler(opts options, source certificates) *controllers.FunnelPolicyReconciler {
	r := &controllers.FunnelPolicyReconciler{Namespace: opts.namespace, KeepDeleted: opts.keepDeleted}
	switch {
	case opts.webhook.serve && source.own != nil:
		r.WebhookConfiguration = source.own.Configuration
	case !opts.webhook.serve && !opts.admissionPolicies:
		r.Injector = status.Manifests
	}
	return r
}

func addWebhook(mgr ctrl.Manager, opts options) error {
	if err := controllers.SetupPodWebhook(mgr, controllers.PodWebhookOptions{Namespace: opts.namespace, Inject: opts.inject}); err != nil {
		return err
	}
	return mgr.AddReadyzCheck("webhook", func(req *http.Request) error {
		return mgr.GetWebhookServer().StartedChecker()(req)
	})
}

func addCertificates(mgr ctrl.Manager, source certificates) error {
	if source.files != nil {
		return mgr.Add(source.files)
	}
	if err := source.own.Setup(mgr); err != nil {
		return err
	}
	return mgr.AddReadyzCheck("certificate", source.own.Ready)
}
