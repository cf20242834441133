// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/sfunnel-io/funnel-operator/internal/certs"
)

// startMesh installs somebody else's webhook, which is asked after ours and puts
// three containers of its own in front.
func startMesh() {
	GinkgoHelper()
	state, _, err := certs.Step(certs.State{}, nil, []string{"localhost"}, time.Now())
	Expect(err).NotTo(HaveOccurred())
	certificate, err := tls.X509KeyPair(state.Serving.Certificate, state.Serving.Key)
	Expect(err).NotTo(HaveOccurred())
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	Expect(err).NotTo(HaveOccurred())
	handler, err := admission.StandaloneWebhook(&admission.Webhook{Handler: admission.HandlerFunc(addMesh)}, admission.StandaloneOptions{})
	Expect(err).NotTo(HaveOccurred())
	server := &http.Server{Handler: handler}
	go server.Serve(listener)
	DeferCleanup(server.Close)

	_, port, _ := strings.Cut(listener.Addr().String(), ":")
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "zz-mesh"}, // configurations are asked in the order of their names
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:                    "mesh.example.com",
			AdmissionReviewVersions: []string{"v1"},
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{ofWebhookCases: "true"}},
			Rules:                   generatedConfiguration().Webhooks[0].Rules,
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL:      ptr.To("https://localhost:" + port),
				CABundle: state.Trusted(),
			},
		}},
	}
	Expect(api.Create(suite, configuration)).To(Succeed())
	DeferCleanup(func() { Expect(api.Delete(suite, configuration)).To(Succeed()) })
	probe := newNamespace(map[string]string{ofWebhookCases: "true"})
	Eventually(func() int {
		pod := in(probe, webPod())
		pod.Name, pod.GenerateName = "", "web-"
		Expect(api.Create(suite, pod)).To(Succeed())
		return len(pod.Spec.InitContainers)
	}).Should(Equal(3))
}

func addMesh(_ context.Context, req admission.Request) admission.Response {
	pod := &corev1.Pod{}
	if err := admission.NewDecoder(scheme).DecodeRaw(req.Object, pod); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	var meshed []corev1.Container
	for i := range 3 {
		meshed = append(meshed, corev1.Container{Name: fmt.Sprintf("mesh-%d", i+1), Image: "mesh:1"})
	}
	pod.Spec.InitContainers = append(meshed, pod.Spec.InitContainers...)
	patched, err := json.Marshal(pod)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(req.Object.Raw, patched)
}
