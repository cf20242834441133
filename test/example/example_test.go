// SPDX-License-Identifier: Apache-2.0

// Package example is a test as another project would write it: do the policies
// that we ship compile, and to which rules? It needs a kube-apiserver and etcd
// (KUBEBUILDER_ASSETS), no node, and imports nothing that others can't import.
package example

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	metav1apply "k8s.io/client-go/applyconfigurations/meta/v1"

	sfunnelapply "github.com/sfunnel-io/funnel-operator/api/applyconfiguration/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/config/crd"
	"github.com/sfunnel-io/funnel-operator/controllers"
)

func TestOurPolicyGetsReady(t *testing.T) {
	ctx, api := t.Context(), startOperator(t)
	owner := client.FieldOwner("our-project")

	// What our project ships, as apply configurations; reading YAML does as well.
	service := corev1apply.Service("web", "default").WithSpec(corev1apply.ServiceSpec().
		WithSelector(map[string]string{"app": "web"}).
		WithSessionAffinity(corev1.ServiceAffinityClientIP).
		WithPorts(corev1apply.ServicePort().WithPort(80).WithTargetPort(intstr.FromInt32(8080))))
	policy := sfunnelapply.FunnelPolicy("web", "default").WithSpec(sfunnelapply.FunnelPolicySpec().
		WithPodSelector(metav1apply.LabelSelector().WithMatchLabels(map[string]string{"app": "web"})).
		WithBackend(sfunnelapply.Backend().
			WithService("web").
			WithThrough(sfunnelapply.ThroughPort().WithPort(intstr.FromInt32(80))).
			WithEncapsulation(v1alpha1.EncapsulationInline).
			WithPorts(sfunnelapply.FunneledPort().WithPort(8443))))
	for _, object := range []runtime.ApplyConfiguration{service, policy} {
		if err := api.Apply(ctx, object, owner); err != nil {
			t.Fatal(err)
		}
	}

	// Ready takes no pods, hence no kubelet.
	waitReady(t, api, client.ObjectKey{Namespace: "default", Name: "web"})

	var published corev1.ConfigMap
	name := client.ObjectKey{Namespace: "default", Name: v1alpha1.ConfigMapName("web")}
	if err := api.Get(ctx, name, &published); err != nil {
		t.Fatal(err)
	}
	want := "tcp dport 8080 actions unfunnel tcp inline dport 8443\n"
	if got := published.Data[v1alpha1.FileIngress]; got != want {
		t.Errorf("the pods get %q, not %q", got, want)
	}
}

// startOperator starts an API server with the FunnelPolicy kind and the operator
// in this process, until the end of the test.
func startOperator(t *testing.T) client.Client {
	t.Helper()
	server := &envtest.Environment{
		CRDs:                     []*apiextensionsv1.CustomResourceDefinition{crd.FunnelPolicy()},
		ControlPlaneStartTimeout: time.Minute,
		ControlPlaneStopTimeout:  time.Second, // then it is killed
	}
	config, err := server.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })

	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	runOperator(t, config, scheme)
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return api
}

func runOperator(t *testing.T, config *rest.Config, scheme *runtime.Scheme) {
	t.Helper()
	ctrl.SetLogger(logr.Discard())
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:  scheme,
		Cache:   controllers.CacheOptions(), // the reconciler counts on it
		Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := (&controllers.FunnelPolicyReconciler{}).SetupWithManager(manager); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- manager.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// waitReady waits until the operator has published the rules of the policy as it
// is now, and says why it has not.
func waitReady(t *testing.T, api client.Client, name client.ObjectKey) {
	t.Helper()
	var policy v1alpha1.FunnelPolicy
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		if err := api.Get(ctx, name, &policy); err != nil {
			return false, err
		}
		current := policy.Status.ObservedGeneration == policy.Generation
		return current && meta.IsStatusConditionTrue(policy.Status.Conditions, v1alpha1.ConditionReady), nil
	})
	if err != nil {
		t.Fatalf("%s is not ready: %v\n%s", name, err, conditions(&policy))
	}
}

func conditions(policy *v1alpha1.FunnelPolicy) string {
	var b strings.Builder
	for _, c := range policy.Status.Conditions {
		b.WriteString(c.Type + "=" + string(c.Status) + ", " + c.Reason + ": " + c.Message + "\n")
	}
	return b.String()
}
