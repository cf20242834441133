// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/yaml"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/inject"
	"github.com/sfunnel-io/funnel-operator/internal/kubetest"
)

const (
	ownNamespace = "sfunnel-system"
	attacher     = "registry.example/attacher@sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
	// ofWebhookCases is a label of the namespaces that these cases install the
	// webhook for, so that it asks about no others of the suite.
	ofWebhookCases = "suite.sfunnel.io/webhook"
)

// replica is a manager with the webhook, and a real certificate of its own making.
type replica struct {
	certificate *WebhookCertificate
	cache       client.Reader
	port        int
}

// startReplica runs one until stop, or the end of the case or container.
func startReplica() (r replica, stop func()) {
	GinkgoHelper()
	r = replica{port: freePort(), certificate: &WebhookCertificate{
		Secret:        types.NamespacedName{Namespace: ownNamespace, Name: "sfunnel-webhook-certificate"},
		Configuration: "sfunnel",
		Names:         []string{"sfunnel-webhook." + ownNamespace + ".svc"},
	}}
	cached := CacheOptions()
	r.certificate.LimitCache(&cached)
	anyName := true
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:     scheme,
		Cache:      cached,
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: &anyName},
		WebhookServer: webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: r.port, TLSOpts: []func(*tls.Config){
			func(c *tls.Config) { c.GetCertificate = r.certificate.GetCertificate },
		}}),
	})
	Expect(err).NotTo(HaveOccurred())
	r.cache = mgr.GetCache()
	Expect(r.certificate.Setup(mgr)).To(Succeed())
	Expect(SetupPodWebhook(mgr, PodWebhookOptions{Namespace: ownNamespace, Inject: inject.Options{Image: attacher}})).To(Succeed())

	stop = startManager(mgr)
	return r, stop
}

// presented is the certificate that a client of the replica is shown, in DER;
// nil when there is none.
func (r replica) presented() []byte {
	connection, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.port), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil
	}
	defer connection.Close()
	return connection.ConnectionState().PeerCertificates[0].Raw
}

func freePort() int {
	GinkgoHelper()
	port, err := kubetest.FreePort()
	Expect(err).NotTo(HaveOccurred())
	return port
}

// installWebhook installs the generated configuration for the namespaces of these
// cases. The Service that it names leads to the replica's port on this machine,
// so that the API server checks the certificate against the Service's name.
func installWebhook(port int) {
	GinkgoHelper()
	create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ownNamespace, Labels: optedIn()}})
	create(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: ownNamespace, Name: "sfunnel-webhook"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	})
	configuration := generatedConfiguration()
	pods := &configuration.Webhooks[0]
	pods.NamespaceSelector.MatchLabels[ofWebhookCases] = "true"
	sendTo(pods, port)
	Expect(api.Create(suite, configuration)).To(Succeed())
	DeferCleanup(func() { Expect(client.IgnoreNotFound(api.Delete(suite, configuration))).To(Succeed()) })
}

func sendTo(hook *admissionregistrationv1.MutatingWebhook, port int) {
	to := int32(port)
	hook.ClientConfig.Service.Port = &to
}

func generatedConfiguration() *admissionregistrationv1.MutatingWebhookConfiguration {
	GinkgoHelper()
	text, err := os.ReadFile(filepath.Join("..", "config", "webhook", "manifests.yaml"))
	Expect(err).NotTo(HaveOccurred())
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{}
	Expect(yaml.UnmarshalStrict(text, configuration)).To(Succeed())
	return configuration
}

func optedIn() map[string]string {
	return map[string]string{v1alpha1.LabelInjection: v1alpha1.InjectionEnabled, ofWebhookCases: "true"}
}

// create makes the object, unless an earlier case did.
func create(object client.Object) {
	GinkgoHelper()
	if err := api.Create(suite, object); !apierrors.IsAlreadyExists(err) {
		Expect(err).NotTo(HaveOccurred())
	}
}

// newNamespace makes one with these labels and returns its name.
func newNamespace(labels map[string]string) string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "webhook-", Labels: labels}}
	Expect(api.Create(suite, namespace)).To(Succeed())
	return namespace.Name
}

// newPolicy makes one that selects the label app=web.
func newPolicy(namespace, name string) *v1alpha1.FunnelPolicy {
	GinkgoHelper()
	policy := selectingApp(name, "web")
	policy.Namespace = namespace
	policy.Spec.Rules.Text = &v1alpha1.RulesText{Ingress: "tcp dport 179 sport 540 unfunnel udp dport 2055"}
	Expect(api.Create(suite, &policy)).To(Succeed())
	return &policy
}

// knows waits until the replica has read the policy.
func (r replica) knows(policy *v1alpha1.FunnelPolicy) {
	GinkgoHelper()
	Eventually(func() error {
		return r.cache.Get(suite, client.ObjectKeyFromObject(policy), &v1alpha1.FunnelPolicy{})
	}).Should(Succeed())
}

// beInjectedFor matches pods that carry all that inject.Pod adds for the policies.
func beInjectedFor(policies ...string) OmegaMatcher {
	return WithTransform(func(pod *corev1.Pod) string {
		want := pod.DeepCopy()
		if err := inject.Pod(want, policies, inject.Options{Image: attacher}); err != nil {
			return err.Error()
		}
		if len(pod.Spec.InitContainers) == 0 || !apiequality.Semantic.DeepEqual(pod, want) {
			return fmt.Sprintf("not what is injected: %+v", pod.Spec)
		}
		return "injected"
	}, Equal("injected"))
}

// beUntouched matches pods that carry nothing of ours.
func beUntouched() OmegaMatcher {
	return WithTransform(func(pod *corev1.Pod) int {
		return len(pod.Spec.InitContainers) + len(pod.Spec.Volumes) + len(pod.Labels[v1alpha1.LabelInjected])
	}, BeZero())
}
