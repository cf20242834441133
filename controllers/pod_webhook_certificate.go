// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sfunnel-io/funnel-operator/internal/certs"
)

// Each replica may create the Secret, and reads and writes no other. Of webhook
// configurations it reads and patches its own.
//
// +kubebuilder:rbac:groups="",namespace=sfunnel-system,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",namespace=sfunnel-system,resources=secrets,resourceNames=sfunnel-webhook-certificate,verbs=list;watch;patch
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingwebhookconfigurations,resourceNames=sfunnel,verbs=list;watch;patch

// WebhookCertificate keeps the certificate of the webhook server: in a Secret
// that all replicas share, in memory where the server finds it, and in the
// caBundle of the webhook configuration. No file and no restart is involved.
type WebhookCertificate struct {
	// Secret holds the certificates. It is created when it doesn't exist.
	Secret types.NamespacedName
	// Configuration is the name of the MutatingWebhookConfiguration. Empty: there is
	// none, only metrics are served, and nobody is told whom to trust.
	Configuration string
	// Names are the DNS names that clients connect to.
	Names []string

	client  client.Client
	serving atomic.Pointer[tls.Certificate]
	trusted atomic.Bool
}

// LimitCache makes the manager's cache hold the one Secret and the one webhook
// configuration, and no others.
func (c *WebhookCertificate) LimitCache(opts *cache.Options) {
	if opts.ByObject == nil {
		opts.ByObject = map[client.Object]cache.ByObject{}
	}
	named := func(name string) fields.Selector { return fields.OneTermEqualSelector(metav1.ObjectNameField, name) }
	opts.ByObject[&corev1.Secret{}] = cache.ByObject{
		Namespaces: map[string]cache.Config{c.Secret.Namespace: {FieldSelector: named(c.Secret.Name)}},
	}
	if c.Configuration != "" {
		opts.ByObject[&admissionregistrationv1.MutatingWebhookConfiguration{}] = cache.ByObject{Field: named(c.Configuration)}
	}
}

// Setup starts the upkeep on every replica, leader or not.
func (c *WebhookCertificate) Setup(mgr ctrl.Manager) error {
	c.client = mgr.GetClient()
	everyReplica := false
	request := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: c.Secret}}
	})
	upkeep := ctrl.NewControllerManagedBy(mgr).
		Named("webhook-certificate").
		WithOptions(controller.Options{NeedLeaderElection: &everyReplica}).
		Watches(&corev1.Secret{}, request)
	if c.Configuration != "" {
		upkeep = upkeep.Watches(&admissionregistrationv1.MutatingWebhookConfiguration{}, request)
	}
	return upkeep.WatchesRawSource(source.Func(c.first)).Complete(c)
}

// first asks for the first look: there may be neither Secret nor configuration yet, and
// so no event.
func (c *WebhookCertificate) first(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	queue.Add(reconcile.Request{NamespacedName: c.Secret})
	return nil
}

// GetCertificate is for tls.Config: the certificate to present now.
func (c *WebhookCertificate) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if certificate := c.serving.Load(); certificate != nil {
		return certificate, nil
	}
	return nil, errors.New("no certificate yet")
}

// Ready is a readiness check: the server has a certificate, and the API server was told
// to trust it if it asks at all.
func (c *WebhookCertificate) Ready(*http.Request) error {
	if !c.trusted.Load() {
		return errors.New("the webhook's certificate is not in place yet")
	}
	return nil
}

// Reconcile takes the certificates one step further. The order keeps every
// replica's certificate trusted: the Secret first, then what this replica
// presents, then what the API server trusts.
func (c *WebhookCertificate) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	var configuration admissionregistrationv1.MutatingWebhookConfiguration
	asked := c.Configuration != ""
	if asked {
		err := c.client.Get(ctx, types.NamespacedName{Name: c.Configuration}, &configuration)
		if asked = !apierrors.IsNotFound(err); !asked {
			ctrl.LoggerFrom(ctx).Info("no pod is injected: the MutatingWebhookConfiguration is not there", "name", c.Configuration)
		} else if err != nil {
			return ctrl.Result{}, err
		}
	}
	state, again, err := c.step(ctx, bundle(&configuration), asked)
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return ctrl.Result{RequeueAfter: time.Second}, nil // the other replica was faster
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := c.present(state.Serving); err != nil {
		return ctrl.Result{}, err
	}
	if err := c.trust(ctx, &configuration, state.Trusted()); err != nil {
		return ctrl.Result{}, err
	}
	c.trusted.Store(true)
	return ctrl.Result{RequeueAfter: time.Until(again)}, nil
}

// step reads the Secret, decides, and writes the Secret when something changed. asked
// says whether there is an API server that trusts something, or somebody else tells it.
func (c *WebhookCertificate) step(ctx context.Context, trusted []byte, asked bool) (certs.State, time.Time, error) {
	secret := corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.Secret.Namespace, Name: c.Secret.Name}}
	err := c.client.Get(ctx, c.Secret, &secret)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return certs.State{}, time.Time{}, fmt.Errorf("read the certificate's Secret: %w", err)
	}
	before, old := certs.FromData(secret.Data), secret.DeepCopy()
	if !asked {
		trusted = before.Trusted() // nobody has to be told first
	}
	state, again, err := certs.Step(before, trusted, c.Names, time.Now())
	if err != nil {
		return certs.State{}, time.Time{}, err
	}
	secret.Data = state.Data()
	switch {
	case missing:
		err = c.client.Create(ctx, &secret)
	case !state.Equal(before):
		err = c.client.Patch(ctx, &secret, client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{}))
	}
	return state, again, err
}

// certificateExpiry is set by the one certificate of the process.
var certificateExpiry = prometheus.NewGauge(prometheus.GaugeOpts{
	Name: "sfunnel_webhook_certificate_expiry_timestamp_seconds",
	Help: "When the certificate that the webhook presents ends, in seconds since 1970; 0 while somebody else renews it.",
})

func init() { metrics.Registry.MustRegister(certificateExpiry) }

// present makes the pair what the server presents.
func (c *WebhookCertificate) present(pair certs.Pair) error {
	certificate, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		return err
	}
	c.serving.Store(&certificate)
	certificateExpiry.Set(float64(certificate.Leaf.NotAfter.Unix()))
	return nil
}

// trust writes the bundle into every webhook of the configuration that has
// another, and nothing else.
func (c *WebhookCertificate) trust(ctx context.Context, configuration *admissionregistrationv1.MutatingWebhookConfiguration, trusted []byte) error {
	before := configuration.DeepCopy()
	changed := false
	for i := range configuration.Webhooks {
		to := &configuration.Webhooks[i].ClientConfig
		changed = changed || !bytes.Equal(to.CABundle, trusted)
		to.CABundle = trusted
	}
	if !changed {
		return nil
	}
	if err := c.client.Patch(ctx, configuration, client.StrategicMergeFrom(before)); err != nil {
		return fmt.Errorf("write the caBundle: %w", err)
	}
	return nil
}

// bundle is what all webhooks of the configuration trust: empty when they differ.
func bundle(configuration *admissionregistrationv1.MutatingWebhookConfiguration) []byte {
	var common []byte
	for i, webhook := range configuration.Webhooks {
		if i > 0 && !bytes.Equal(webhook.ClientConfig.CABundle, common) {
			return nil
		}
		common = webhook.ClientConfig.CABundle
	}
	return common
}
