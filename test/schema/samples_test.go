// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/checkout"
	"github.com/sfunnel-io/funnel-operator/internal/policy"
)

var _ = DescribeTable("a sample",
	func(file, namespace string) {
		strict := client.WithFieldValidation(api, metav1.FieldValidationStrict)
		for _, object := range sample(file) {
			err := strict.Create(ctx, object)
			if object.GetKind() == "Namespace" && apierrors.IsAlreadyExists(err) { // the documentation's objects were here first
				err = api.Patch(ctx, object, client.Merge)
			}
			Expect(err).NotTo(HaveOccurred(), "%s %s", object.GetKind(), object.GetName())
		}
		var policies v1alpha1.FunnelPolicyList
		Expect(api.List(ctx, &policies, client.InNamespace(namespace))).To(Succeed())
		Expect(policies.Items).To(HaveLen(2))
		for _, p := range policies.Items {
			compiles(&p)
			selectsRequiredPods(&p)
		}
		optsIn(namespace)
	},
	Entry("of telemetry", "telemetry.yaml", "telemetry"),
	Entry("of a web server with a second port", "web.yaml", "web"),
	Entry("of the same with its rules written out", "web-explicit-rules.yaml", "web-rules"),
	Entry("of QUIC and HTTPS", "quic.yaml", "quic"),
)

var _ = It("the samples are all in the kustomization", func() {
	text, err := os.ReadFile(samplePath("kustomization.yaml"))
	Expect(err).NotTo(HaveOccurred())
	files, err := filepath.Glob(samplePath("*.yaml"))
	Expect(err).NotTo(HaveOccurred())
	Expect(files).To(HaveLen(5))
	for _, file := range files {
		if name := filepath.Base(file); name != "kustomization.yaml" {
			Expect(string(text)).To(ContainSubstring("\n- " + name + "\n"))
		}
	}
})

// compiles the policy with what it depends on as the API server has it.
func compiles(p *v1alpha1.FunnelPolicy) {
	GinkgoHelper()
	in := policy.Cluster{Services: map[types.NamespacedName]*corev1.Service{}, NamedPorts: map[string][]uint16{"TCP/http": {8081}}}
	if name := policy.BackendName(p); name.Name != "" {
		in.Backend = &v1alpha1.FunnelPolicy{}
		Expect(api.Get(ctx, name, in.Backend)).To(Succeed())
	}
	for _, name := range in.References(p) {
		in.Services[name] = &corev1.Service{}
		Expect(api.Get(ctx, name, in.Services[name])).To(Succeed())
	}
	program, errs := policy.Compile(p, in)
	Expect(errs).To(BeEmpty())
	Expect(program.Unresolved).To(BeEmpty())
	Expect(program.Warnings).To(BeEmpty())
	Expect(program.Data).NotTo(BeNil())
}

// selectsRequiredPods: the Deployments' pods don't start without the policy.
func selectsRequiredPods(p *v1alpha1.FunnelPolicy) {
	GinkgoHelper()
	selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	Expect(err).NotTo(HaveOccurred())
	var deployments appsv1.DeploymentList
	Expect(api.List(ctx, &deployments, client.InNamespace(p.Namespace))).To(Succeed())
	selected := 0
	for _, d := range deployments.Items {
		if selector.Matches(labels.Set(d.Spec.Template.Labels)) {
			selected++
			Expect(d.Spec.Template.Labels).To(HaveKeyWithValue(v1alpha1.LabelInject, v1alpha1.InjectRequired))
		}
	}
	Expect(selected).To(Equal(1))
}

func optsIn(namespace string) {
	GinkgoHelper()
	n := &corev1.Namespace{}
	Expect(api.Get(ctx, types.NamespacedName{Name: namespace}, n)).To(Succeed())
	Expect(n.Labels).To(HaveKeyWithValue(v1alpha1.LabelInjection, v1alpha1.InjectionEnabled))
}

// sample are the objects of a file, in their order.
func sample(file string) []*unstructured.Unstructured {
	GinkgoHelper()
	text, err := os.ReadFile(samplePath(file))
	Expect(err).NotTo(HaveOccurred())
	return documents(string(text))
}

func samplePath(file string) string {
	root, err := checkout.Root()
	Expect(err).NotTo(HaveOccurred())
	return filepath.Join(root, "config", "samples", file)
}
