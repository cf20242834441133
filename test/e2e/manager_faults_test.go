// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/test/faults"
)

// managerPods are those of the operator that have a running container.
func (c *cluster) managerPods() (running []corev1.Pod) {
	GinkgoHelper()
	var list corev1.PodList
	Expect(c.api.List(GinkgoT().Context(), &list, client.InNamespace(operatorNamespace),
		client.MatchingLabels{"app.kubernetes.io/component": "manager"})).To(Succeed())
	for _, p := range list.Items {
		if len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Running != nil {
			running = append(running, p)
		}
	}
	return running
}

// kill kills a pod's first container, which the node tells nobody before it is dead.
func (c *cluster) kill(p corev1.Pod) error { return c.treat("kill", p) }

// treat does a thing of the cluster's program to a pod's first container.
func (c *cluster) treat(how string, p corev1.Pod) error {
	_, err := run(program("cluster"), how, "-name", c.name, p.Spec.NodeName, p.Status.ContainerStatuses[0].ContainerID)
	return err
}

// killManagers kills a manager at random moments, so many times, while something else
// happens again and again. Half of the time all of them had become ready before.
func (c *cluster) killManagers(times int, chance *rand.Rand, other func()) {
	GinkgoHelper()
	rounds := meanwhile(other, func() {
		for killed := 0; killed < times; {
			time.Sleep(time.Duration(chance.Int64N(int64(2 * time.Second))))
			pods := c.managerPods()
			if len(pods) > 0 && c.kill(pods[chance.IntN(len(pods))]) == nil {
				killed++ // otherwise it had ended already
			}
			if chance.IntN(2) == 0 {
				c.operatorRuns()
			}
		}
	})
	fmt.Printf("managers were killed %d times during %d rollouts\n", times, rounds)
}

// leader is the name of the pod that reconciles.
func (c *cluster) leader() string {
	GinkgoHelper()
	name, _, _ := strings.Cut(c.leaseHolder(), "_")
	return name
}

// loseLeader ends the pod that reconciles, and asks for pods until another one does. The
// webhook must answer meanwhile: always when the pod ends in order; but for the moment in
// which nobody knows yet that it is dead when it is killed. It waits for no leader.
func (c *cluster) loseLeader(killed bool) {
	GinkgoHelper()
	lost := c.leader()
	var refused, answered int
	var lastRefusal error
	ask := func() {
		if err := c.tryPod(); err != nil {
			refused++
			lastRefusal = err
		} else {
			answered++
		}
	}
	began := time.Now()
	meanwhile(ask, func() {
		if !killed {
			c.kubectl("-n", operatorNamespace, "delete", "pod", lost, "--wait=false")
			Eventually(c.leader).ShouldNot(Or(Equal(lost), BeEmpty()))
			return
		}
		identity := c.leaseHolder()
		for _, p := range c.managerPods() {
			if p.Name == lost {
				Expect(c.kill(p)).To(Succeed())
			}
		}
		Eventually(c.leaseHolder).ShouldNot(Or(Equal(identity), BeEmpty()))
	})
	fmt.Printf("another manager reconciles after %s; meanwhile %d pods were injected and %d refused\n", seconds(time.Since(began)), answered, refused)
	Expect(answered).To(BeNumerically(">", refused), "pods that were asked for without a leader; the last refusal: %v", lastRefusal)
	if !killed {
		Expect(refused).To(BeZero(), "%v", lastRefusal)
	}
}

// leaseHolder is who reconciles, another one when its process is.
func (c *cluster) leaseHolder() string {
	GinkgoHelper()
	var lease coordinationv1.Lease
	Expect(c.api.Get(GinkgoT().Context(), client.ObjectKey{Namespace: operatorNamespace, Name: "sfunnel-manager"}, &lease)).To(Succeed())
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// loseWebhook takes every manager away.
func (c *cluster) loseWebhook() {
	GinkgoHelper()
	c.withoutManager(c.withoutWebhook)
	c.withWebhookAgain()
}

// hangManagers lets every manager live and do nothing: who asks its webhook gets no answer,
// until the nodes find that and start another one.
func (c *cluster) hangManagers() {
	GinkgoHelper()
	hanging := c.managerLives()
	for _, p := range c.managerPods() {
		Expect(c.treat("hang", p)).To(Succeed())
	}
	c.withoutWebhook()
	for _, life := range hanging {
		Eventually(c.managerLives).ShouldNot(ContainElement(life))
	}
	c.operatorRuns()
	c.withWebhookAgain()
}

// managerLives are the containers in which managers run.
func (c *cluster) managerLives() (lives []string) {
	GinkgoHelper()
	for _, p := range c.managerPods() {
		lives = append(lives, p.Status.ContainerStatuses[0].ContainerID)
	}
	return lives
}

// withoutWebhook is what holds while nobody answers for it: opted-in pods wait; pods
// elsewhere, and those that opt out, start.
func (c *cluster) withoutWebhook() {
	GinkgoHelper()
	Expect(c.tryPod()).To(MatchError(ContainSubstring("webhook")))
	c.kubectl("-n", c.namespace, "rollout", "restart", "deployment/loaded")
	c.kubectl("create", "namespace", "elsewhere")
	c.apply(server("elsewhere", "bystander", ""))
	c.apply(server(c.namespace, "bystander", `sfunnel.io/inject: "false"`))
	c.running("bystander")
	c.within("elsewhere").running("bystander")
	Eventually(c.reasons("loaded")).Should(ContainElement("FailedCreate"), "pods of loaded are expected to wait")
}

// withWebhookAgain waits for those that waited, and takes the others away.
func (c *cluster) withWebhookAgain() {
	GinkgoHelper()
	c.running("loaded")
	c.kubectl("delete", "namespace/elsewhere", "--wait=true")
	c.kubectl("-n", c.namespace, "delete", "deployment/bystander", "--wait=false")
}

// reasons returns a function that lists those of the conditions of an app's ReplicaSets.
func (c *cluster) reasons(app string) func() []string {
	return func() (reasons []string) {
		var sets appsv1.ReplicaSetList
		Expect(c.api.List(GinkgoT().Context(), &sets, client.InNamespace(c.namespace), client.MatchingLabels{"app": app})).To(Succeed())
		for _, set := range sets.Items {
			for _, condition := range set.Status.Conditions {
				reasons = append(reasons, condition.Reason)
			}
		}
		return reasons
	}
}

// spoilCertificate waits until the managers have issued another certificate, which the
// API server trusts.
func (c *cluster) spoilCertificate() {
	GinkgoHelper()
	old, err := faults.SpoilCertificate(GinkgoT().Context(), c.api)
	Expect(err).NotTo(HaveOccurred())
	Eventually(c.presented).Should(And(HavePrefix("-----BEGIN"), Not(Equal(string(old)))))
	Eventually(c.tryPod).Should(Succeed())
}

// renewCertificate has the managers renew a certificate in order, while pods are asked for.
// None may be refused.
func (c *cluster) renewCertificate() {
	GinkgoHelper()
	succession, err := faults.NewSuccession(GinkgoT().Context(), c.api)
	Expect(err).NotTo(HaveOccurred())
	Expect(succession.Trust(GinkgoT().Context(), c.api)).To(Succeed())
	Eventually(c.trusted).Should(ContainSubstring(string(succession.Ending.Certificate)))
	time.Sleep(trusting)
	asked := meanwhile(func() { Expect(c.tryPod()).To(Succeed()) }, func() {
		Expect(succession.Begin(GinkgoT().Context(), c.api)).To(Succeed())
		Eventually(c.presented).Should(Equal(string(succession.Successor.Certificate)))
		time.Sleep(trusting)
	})
	fmt.Printf("%d pods were asked for while the certificate was renewed\n", asked)
}

// trusting is for how long at least API servers have known by then which certificates to
// trust. What makes a certificate ready to be renewed here takes 10 minutes otherwise.
const trusting = 5 * time.Second

// trusted are the certificates that API servers trust the webhook by, presented is the one
// that managers present.
func (c *cluster) trusted() string {
	GinkgoHelper()
	var configuration admissionregistrationv1.MutatingWebhookConfiguration
	Expect(c.api.Get(GinkgoT().Context(), client.ObjectKey{Name: "sfunnel"}, &configuration)).To(Succeed())
	return string(configuration.Webhooks[0].ClientConfig.CABundle)
}

func (c *cluster) presented() string {
	GinkgoHelper()
	var secret corev1.Secret
	Expect(c.api.Get(GinkgoT().Context(), faults.CertificateSecret, &secret)).To(Succeed())
	return string(secret.Data["tls.crt"])
}

// meddle changes the rules of a policy by hand, which its manager undoes.
func (c *cluster) meddle(policy string) {
	GinkgoHelper()
	published, err := faults.Meddle(GinkgoT().Context(), c.api, c.keyOf(policy), "tcp dport 8081 drop\n")
	Expect(err).NotTo(HaveOccurred())
	Eventually(func() map[string]string {
		var rules corev1.ConfigMap
		c.read(&rules, v1alpha1.ConfigMapName(policy))
		return rules.Data
	}).Should(Equal(published))
}
