// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
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
func (c *cluster) kill(p corev1.Pod) error {
	_, err := run(program("cluster"), "kill", "-name", c.name, p.Spec.NodeName, p.Status.ContainerStatuses[0].ContainerID)
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

// bystanders are a Deployment in an opted-in namespace whose pods opt out, and one in
// another namespace.
const bystanders = `
apiVersion: v1
kind: Namespace
metadata: {name: elsewhere}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: bystander, namespace: elsewhere}
spec:
  selector: {matchLabels: {app: bystander}}
  template:
    metadata: {labels: {app: bystander}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: echo, image: "localhost/echo:dev", args: [serve, -tcp, "8081"]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: bystander, namespace: demo}
spec:
  selector: {matchLabels: {app: bystander}}
  template:
    metadata: {labels: {app: bystander, sfunnel.io/inject: "false"}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: echo, image: "localhost/echo:dev", args: [serve, -tcp, "8081"]}]
`

// loseWebhook takes every manager away. Opted-in pods wait for it; pods elsewhere, and those
// that opt out, start.
func (c *cluster) loseWebhook() {
	GinkgoHelper()
	before := len(c.managerPods())
	c.scaleManagers(0)
	Eventually(c.managerPods).Should(BeEmpty())
	Expect(c.tryPod()).To(MatchError(ContainSubstring("webhook")))
	c.kubectl("-n", c.namespace, "rollout", "restart", "deployment/loaded")
	c.apply(bystanders)
	c.running("bystander")
	c.within("elsewhere").running("bystander")
	Eventually(func() (reasons []string) {
		var sets appsv1.ReplicaSetList
		Expect(c.api.List(GinkgoT().Context(), &sets, client.InNamespace(c.namespace), client.MatchingLabels{"app": "loaded"})).To(Succeed())
		for _, set := range sets.Items {
			for _, condition := range set.Status.Conditions {
				reasons = append(reasons, condition.Reason)
			}
		}
		return reasons
	}).Should(ContainElement("FailedCreate"), "pods of loaded are expected to wait")
	c.scaleManagers(before)
	c.running("loaded")
	c.kubectl("delete", "namespace/elsewhere", "--wait=false")
	c.kubectl("-n", c.namespace, "delete", "deployment/bystander", "--wait=false")
}

// spoilCertificate makes the managers issue another certificate.
func (c *cluster) spoilCertificate() {
	GinkgoHelper()
	key := client.ObjectKey{Namespace: operatorNamespace, Name: "sfunnel-webhook-certificate"}
	var secret corev1.Secret
	Expect(c.api.Get(GinkgoT().Context(), key, &secret)).To(Succeed())
	before := secret.DeepCopy()
	secret.Data["tls.crt"], secret.Data["next.crt"] = []byte("spoiled"), nil
	Expect(c.api.Patch(GinkgoT().Context(), &secret, client.MergeFrom(before))).To(Succeed())
	Eventually(func() string {
		Expect(c.api.Get(GinkgoT().Context(), key, &secret)).To(Succeed())
		return string(secret.Data["tls.crt"])
	}).Should(HavePrefix("-----BEGIN"))
	Expect(secret.Data["tls.crt"]).NotTo(Equal(before.Data["tls.crt"]))
	Eventually(c.tryPod).Should(Succeed())
}

// meddle changes the rules of a policy by hand, which its manager undoes.
func (c *cluster) meddle(policy string) {
	GinkgoHelper()
	var rules corev1.ConfigMap
	c.read(&rules, policy+"-funnel")
	before := rules.DeepCopy()
	rules.Data[v1alpha1.FileIngress] = "tcp dport 8081 drop\n"
	Expect(c.api.Patch(GinkgoT().Context(), &rules, client.MergeFrom(before))).To(Succeed())
	Eventually(func() map[string]string {
		c.read(&rules, policy+"-funnel")
		return rules.Data
	}).Should(Equal(before.Data))
}
