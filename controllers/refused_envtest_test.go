// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"net"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
)

// resetting makes the API server ask, about ConfigMaps of the namespace, somebody who resets each
// connection: its error names another port each time.
func (s shop) resetting() {
	GinkgoHelper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}
	}()
	hook := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: string(s)},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name:                    "resets.example.com",
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: ptr.To(fmt.Sprintf("https://%s/", listener.Addr()))},
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: string(s)}},
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}
	Expect(api.Create(suite, hook)).To(Succeed())
	DeferCleanup(func() { Expect(api.Delete(suite, hook)).To(Succeed()) })
}

var _ = Describe("A write that is refused with another text each time", Ordered, func() {
	It("is tried less and less often: the status does not ask for more", func() {
		o, _ := startOperator(func(r *FunnelPolicyReconciler) { r.StatusAtMost = time.Hour })
		s := newShop()
		s.resetting()
		p := s.policy("policy")
		Eventually(condition(p, v1alpha1.ConditionProgrammed)).Should(Equal("False/ApplyFailed"))
		again := func() error {
			_, err := o.Reconcile(suite, reconcile.Request{NamespacedName: keyOf(p)})
			return err
		}
		Eventually(again).Should(HaveOccurred()) // the cache shows the status
		texts := map[string]bool{}
		for range 10 {
			err := again()
			Expect(err).To(HaveOccurred())
			texts[err.Error()] = true
		}
		Expect(len(texts)).To(BeNumerically(">", 1))

		By("but what pods do is told when it is due")
		s.pod("web-1")
		Eventually(again).Should(Succeed())
	})
})

var _ = Describe("Both ConfigMaps of a backend that are refused", func() {
	It("make an Event each, which is new to the API server", func() {
		o, _ := startOperator()
		s := newShop()
		s.allowNoConfigMaps()
		s.service("collector")
		p := s.policy("policy", behind("collector"))
		Eventually(notesOf(p, "Warning", v1alpha1.ReasonApplyFailed)).Should(ConsistOf(ContainSubstring("policy-funnel"), ContainSubstring("policy-external")))
		Expect(o.requests.writing("PATCH", "/events/")).To(BeEmpty())
	})
})
