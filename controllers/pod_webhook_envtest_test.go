// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/json"
	"maps"
	"net/http"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

var _ = Describe("the pod webhook", Ordered, func() {
	var (
		answering replica
		namespace string // opted in
	)

	BeforeAll(func() {
		answering, _ = startReplica()
		installWebhook(answering.port)
		Eventually(answering.certificate.Ready).WithArguments((*http.Request)(nil)).Should(Succeed())
		probe := newNamespace(optedIn())
		Eventually(func() error { return api.Create(suite, in(probe, webPod()), client.DryRunAll) }).Should(Succeed())
	})
	BeforeEach(func() { namespace = newNamespace(optedIn()) })

	policy := func(name string) *v1alpha1.FunnelPolicy {
		GinkgoHelper()
		made := newPolicy(namespace, name)
		answering.knows(made)
		return made
	}
	created := func(pod *corev1.Pod) *corev1.Pod {
		GinkgoHelper()
		Expect(api.Create(suite, in(namespace, pod))).To(Succeed())
		return pod
	}
	denied := func(pod *corev1.Pod, message string) {
		GinkgoHelper()
		err := api.Create(suite, in(namespace, pod))
		Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)
		Expect(err).To(MatchError(ContainSubstring(`admission webhook "pods.sfunnel.io" denied the request: ` + message)))
	}

	Describe("whom it injects", func() {
		It("a pod that a policy selects, whether or not the policy's rules are published yet", func() {
			policy("web")
			Expect(created(webPod())).To(beInjectedFor("web"))
		})
		It("with the rules of every policy that selects it", func() {
			policy("web")
			policy("also")
			Expect(created(webPod())).To(beInjectedFor("also", "web"))
		})
		It("a pod that gets its name and namespace from the API server", func() {
			policy("web")
			pod := webPod()
			pod.Name, pod.GenerateName = "", "web-"
			Expect(post(namespace, pod)).To(beInjectedFor("web"))
		})
		It("a pod of an injected pod's manifest, without a change", func() {
			policy("web")
			first := created(webPod())
			second := first.DeepCopy()
			second.ObjectMeta = metav1.ObjectMeta{Name: "second", Labels: first.Labels}
			Expect(created(second).Spec).To(Equal(first.Spec))
		})
		It("no pod that no policy selects", func() {
			policy("web")
			pod := webPod()
			pod.Labels["app"] = "other"
			Expect(created(pod)).To(beUntouched())
		})
		It("no pod by a selector that the schema lets pass and nobody can read", func() {
			odd := selectingApp("odd", "")
			odd.Namespace = namespace
			odd.Spec.PodSelector = metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
				Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"web,client"},
			}}}
			odd.Spec.Rules.Text = &v1alpha1.RulesText{Ingress: "tcp dport 22 drop"}
			Expect(api.Create(suite, &odd)).To(Succeed())
			answering.knows(&odd)
			Expect(created(webPod())).To(beUntouched())
		})
		It("no pod of another namespace's policy", func() {
			other := newPolicy(newNamespace(optedIn()), "web")
			answering.knows(other)
			Expect(created(webPod())).To(beUntouched())
		})
		It("no pod of a policy that is being deleted", func() {
			made := policy("web")
			made.Finalizers = []string{"example.com/keep"}
			Expect(api.Update(suite, made)).To(Succeed())
			Expect(api.Delete(suite, made)).To(Succeed())
			DeferCleanup(func() {
				Expect(api.Patch(suite, made, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))).To(Succeed())
			})
			Eventually(func() bool {
				var seen v1alpha1.FunnelPolicy
				return answering.cache.Get(suite, client.ObjectKeyFromObject(made), &seen) == nil && !seen.DeletionTimestamp.IsZero()
			}).Should(BeTrue())
			Expect(created(webPod())).To(beUntouched())
		})
		It("the same pod in a dry run, which leaves nothing behind", func() {
			policy("web")
			pod := in(namespace, webPod())
			Expect(api.Create(suite, pod, client.DryRunAll)).To(Succeed())
			Expect(pod).To(beInjectedFor("web"))
			Expect(apierrors.IsNotFound(api.Get(suite, client.ObjectKeyFromObject(pod), pod))).To(BeTrue())
		})
	})

	Describe("what it denies", func() {
		It("a pod that requires a policy, until one selects it", func() {
			required := label(v1alpha1.LabelInject, v1alpha1.InjectRequired)
			denied(webPod(required), `the label sfunnel.io/inject is "required" and no FunnelPolicy of the namespace selects the pod yet: create the policy, or remove the label`)
			newPolicy(namespace, "web") // the live look finds it at once
			Expect(created(webPod(required))).To(beInjectedFor("web"))
		})
		It("a pod that can't be injected, with what to do about it", func() {
			policy("web")
			no := false
			denied(webPod(func(p *corev1.Pod) { p.Spec.HostNetwork = true }), "spec.hostNetwork: ")
			denied(webPod(func(p *corev1.Pod) { p.Spec.HostUsers = &no }), "spec.hostUsers: ")
			denied(webPod(func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }), "spec.os.name: ")
			denied(webPod(func(p *corev1.Pod) {
				p.Spec.InitContainers = []corev1.Container{{Name: v1alpha1.InitContainerName, Image: "x"}}
			}), "spec.initContainers[0]: the name sfunnel-attach is that of the injected one")
			denied(webPod(func(p *corev1.Pod) {
				p.Spec.HostNetwork = true
			}), `spec.hostNetwork: a FunnelPolicy selects the pod, and its rules would hold for the whole node: use the pod network, or opt the pod out with the label sfunnel.io/inject: "false"`)
		})
		It("none of these, when no policy selects them", func() {
			Expect(created(webPod(func(p *corev1.Pod) { p.Spec.HostNetwork = true }))).To(beUntouched())
		})
	})

	Describe("when a later webhook changes the pod", func() {
		It("puts its container in front again and counts anew", func() {
			policy("web")
			startMesh()
			pod := created(webPod())
			names := []string{}
			for _, c := range pod.Spec.InitContainers {
				names = append(names, c.Name)
			}
			Expect(names).To(Equal([]string{"sfunnel-attach", "mesh-1", "mesh-2", "mesh-3"}))
			Expect(pod).To(beInjectedFor("web"))
			Expect(pod.Spec.InitContainers[0].Env).To(ContainElement(corev1.EnvVar{Name: "SFUNNEL_REPORT_MAX", Value: "2457"}))
		})
	})
})

var _ = Describe("the webhook configuration", Ordered, func() {
	// Nobody answers: what is asked about is refused, all else is not held up.
	BeforeAll(func() { installWebhook(freePort()) })

	created := func(namespace string, pod *corev1.Pod) error { return api.Create(suite, in(namespace, pod)) }
	refused := MatchError(ContainSubstring(`failed calling webhook "pods.sfunnel.io"`))

	It("refuses pods of opted-in namespaces without an answer", func() {
		namespace := newNamespace(optedIn())
		Eventually(created).WithArguments(namespace, webPod()).Should(refused)
	})
	It("asks about no pod that opted out", func() {
		Expect(created(newNamespace(optedIn()), webPod(label(v1alpha1.LabelInject, v1alpha1.InjectFalse)))).To(Succeed())
	})
	It("asks about no other namespace", func() {
		Expect(created(newNamespace(map[string]string{ofWebhookCases: "true"}), webPod())).To(Succeed())
		Expect(created(newNamespace(map[string]string{ofWebhookCases: "true", v1alpha1.LabelInjection: "disabled"}), webPod())).To(Succeed())
	})
	It("asks about neither kube-system nor the operator's own namespace, even when they opted in", func() {
		for _, name := range []string{metav1.NamespaceSystem, ownNamespace} {
			namespace := &corev1.Namespace{}
			Expect(api.Get(suite, client.ObjectKey{Name: name}, namespace)).To(Succeed())
			before := namespace.DeepCopy()
			namespace.Labels = maps.Clone(namespace.Labels)
			maps.Copy(namespace.Labels, optedIn())
			Expect(api.Patch(suite, namespace, client.MergeFrom(before))).To(Succeed())
			pod := webPod()
			pod.GenerateName, pod.Name = "web-", ""
			Expect(created(name, pod)).To(Succeed())
			Expect(api.Delete(suite, pod, client.GracePeriodSeconds(0))).To(Succeed())
			Expect(api.Patch(suite, before, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"sfunnel.io/injection":null}}}`)))).To(Succeed())
		}
	})
	It("asks about nothing but the creation of pods", func() {
		namespace := newNamespace(map[string]string{ofWebhookCases: "true"})
		pod := in(namespace, webPod())
		Expect(api.Create(suite, pod)).To(Succeed())
		Expect(api.Patch(suite, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
			client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"sfunnel.io/injection":"enabled"}}}`)))).To(Succeed())
		Eventually(created).WithArguments(namespace, webPod()).Should(refused)

		pod.Labels["changed"] = "true"
		Expect(api.Update(suite, pod)).To(Succeed())
		pod.Status.Phase = corev1.PodRunning
		Expect(api.Status().Update(suite, pod)).To(Succeed())
		Expect(api.Create(suite, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "any"}})).To(Succeed())
		Expect(api.Delete(suite, pod)).To(Succeed())
	})
	It("gives an answer five seconds, and promises no side effects", func() {
		hook := generatedConfiguration().Webhooks[0]
		Expect(hook.TimeoutSeconds).To(HaveValue(BeEquivalentTo(5)))
		Expect(hook.FailurePolicy).To(HaveValue(Equal(admissionregistrationv1.Fail)))
		Expect(hook.SideEffects).To(HaveValue(Equal(admissionregistrationv1.SideEffectClassNone)))
	})
})

// in puts the pod into the namespace.
func in(namespace string, pod *corev1.Pod) *corev1.Pod {
	pod.Namespace = namespace
	return pod
}

// post creates the pod by a request whose body names no namespace.
func post(namespace string, pod *corev1.Pod) *corev1.Pod {
	GinkgoHelper()
	clients, err := kubernetes.NewForConfig(cfg)
	Expect(err).NotTo(HaveOccurred())
	body, err := json.Marshal(pod)
	Expect(err).NotTo(HaveOccurred())
	Expect(string(body)).NotTo(ContainSubstring("namespace"))
	created := &corev1.Pod{}
	Expect(clients.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Body(body).Do(suite).Into(created)).To(Succeed())
	return created
}
