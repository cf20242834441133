// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/pem"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/internal/certs"
)

var _ = Describe("the webhook's certificate", Ordered, func() {
	var one, two replica

	ready := func(r replica) func() error { return func() error { return r.certificate.Ready((*http.Request)(nil)) } }
	secret := func() *corev1.Secret {
		GinkgoHelper()
		object := &corev1.Secret{}
		Expect(api.Get(suite, one.certificate.Secret, object)).To(Succeed())
		return object
	}
	configuration := func(name string) *admissionregistrationv1.MutatingWebhookConfiguration {
		GinkgoHelper()
		object := &admissionregistrationv1.MutatingWebhookConfiguration{}
		Expect(api.Get(suite, client.ObjectKey{Name: name}, object)).To(Succeed())
		return object
	}
	// inPlace is whether both replicas present what the Secret holds and the API
	// server was told to trust it.
	inPlace := func(g Gomega) {
		state := certs.FromData(secret().Data)
		served, _ := pem.Decode(state.Serving.Certificate)
		g.Expect(served).NotTo(BeNil())
		g.Expect(one.presented()).To(Equal(served.Bytes))
		g.Expect(two.presented()).To(Equal(served.Bytes))
		g.Expect(configuration("sfunnel").Webhooks[0].ClientConfig.CABundle).To(Equal(state.Trusted()))
	}
	// works is whether the API server reaches the webhook.
	works := func() error { return api.Create(suite, in(newNamespace(optedIn()), webPod()), client.DryRunAll) }

	BeforeAll(func() {
		create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ownNamespace, Labels: optedIn()}})
		one, _ = startReplica()
		Expect(client.IgnoreNotFound(api.Delete(suite, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Namespace: ownNamespace, Name: one.certificate.Secret.Name}}))).To(Succeed())
		two, _ = startReplica()

		By("making replicas ready while the API server asks nobody")
		Expect((&WebhookCertificate{}).Ready(nil)).To(MatchError("the webhook's certificate is not in place yet"))
		Eventually(ready(one)).Should(Succeed())
		Eventually(ready(two)).Should(Succeed())
		installWebhook(one.port)
	})

	It("is the same on all replicas, and the API server accepts it", func() {
		Eventually(inPlace).Should(Succeed())
		Eventually(works).Should(Succeed())
	})
	It("is written to no other webhook configuration", func() {
		other := generatedConfiguration()
		other.Name = "other"
		other.Webhooks[0].NamespaceSelector.MatchLabels["nobody"] = "true"
		Expect(api.Create(suite, other)).To(Succeed())
		DeferCleanup(func() { Expect(api.Delete(suite, other)).To(Succeed()) })
		reconcileOnce(one)
		Expect(configuration("other").ResourceVersion).To(Equal(other.ResourceVersion))
	})
	It("costs no write when nothing is due", func() {
		Eventually(inPlace).Should(Succeed())
		before, beforeSecret := configuration("sfunnel"), secret()
		reconcileOnce(one)
		reconcileOnce(two)
		Expect(configuration("sfunnel").ResourceVersion).To(Equal(before.ResourceVersion))
		Expect(secret().ResourceVersion).To(Equal(beforeSecret.ResourceVersion))
	})
	It("looks again when the successor is due", func() {
		Expect(reconcileOnce(one).RequeueAfter).To(BeNumerically("~", 60*24*time.Hour, time.Hour))
	})
	It("is trusted again when somebody overwrote the caBundle", func() {
		damaged := configuration("sfunnel")
		damaged.Webhooks[0].ClientConfig.CABundle = nil
		Expect(api.Update(suite, damaged)).To(Succeed())
		Eventually(inPlace).Should(Succeed())
		Eventually(works).Should(Succeed())
	})
	It("leaves what others wrote into Secret and configuration", func() {
		note := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"note":"keep"}}}`))
		Expect(api.Patch(suite, secret(), note)).To(Succeed())
		Expect(api.Patch(suite, configuration("sfunnel"), note)).To(Succeed())
		forge(secret(), certs.State{})
		Eventually(inPlace).Should(Succeed())
		Expect(secret().Annotations).To(HaveKeyWithValue("note", "keep"))
		Expect(configuration("sfunnel").Annotations).To(HaveKeyWithValue("note", "keep"))
		Expect(*configuration("sfunnel").Webhooks[0].ClientConfig.Service.Port).To(BeEquivalentTo(one.port))
	})
	It("is made anew when somebody deleted the Secret", func() {
		old := certs.FromData(secret().Data)
		Expect(api.Delete(suite, secret())).To(Succeed())
		Eventually(func() error { return api.Get(suite, one.certificate.Secret, &corev1.Secret{}) }).Should(Succeed())
		Eventually(inPlace).Should(Succeed())
		Expect(certs.FromData(secret().Data).Equal(old)).To(BeFalse())
		Eventually(works).Should(Succeed())
	})
	It("gets a successor, announced at first, that takes over", func() {
		By("announcing one, a month before the end")
		ending := step(certs.State{}, time.Now().Add(-61*24*time.Hour))
		forge(secret(), ending)
		Eventually(func() certs.State { return certs.FromData(secret().Data) }).Should(SatisfyAll(
			HaveField("Serving", ending.Serving), HaveField("Next.Certificate", Not(BeEmpty()))))
		Eventually(inPlace).Should(Succeed())
		Eventually(works).Should(Succeed())

		By("presenting it, once it was announced for a while")
		announced := step(ending, time.Now().Add(-time.Hour))
		forge(secret(), announced)
		Eventually(func() certs.State { return certs.FromData(secret().Data) }).Should(SatisfyAll(
			HaveField("Serving", announced.Next), HaveField("Next.Certificate", BeEmpty()), HaveField("Retired", ending.Serving.Certificate)))
		Eventually(inPlace).Should(Succeed())
		Eventually(works).Should(Succeed())
	})
})

func reconcileOnce(r replica) ctrl.Result {
	GinkgoHelper()
	result, err := r.certificate.Reconcile(suite, ctrl.Request{})
	Expect(err).NotTo(HaveOccurred())
	return result
}

// step is the state's next one at that time, when clients trust what it says.
func step(state certs.State, now time.Time) certs.State {
	GinkgoHelper()
	next, _, err := certs.Step(state, state.Trusted(), []string{"sfunnel-webhook." + ownNamespace + ".svc"}, now)
	Expect(err).NotTo(HaveOccurred())
	return next
}

// forge makes the state that of the Secret.
func forge(secret *corev1.Secret, state certs.State) {
	GinkgoHelper()
	secret.Data = state.Data()
	Expect(api.Update(suite, secret)).To(Succeed())
}
