// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
)

// onePolicy is a policy with one egress rule, from the rule's fields in YAML's flow
// style. It selects no pod.
func onePolicy(name, rule string) string {
	return fmt.Sprintf(`
apiVersion: sfunnel.io/v1alpha1
kind: FunnelPolicy
metadata: {name: %s, namespace: demo}
spec:
  podSelector: {matchLabels: {app: nobody}}
  rules: {egress: [%s]}
`, name, rule)
}

// textPolicy is a policy whose egress rules are text. It selects no pod.
func textPolicy(name, rules string) string {
	return fmt.Sprintf(`
apiVersion: sfunnel.io/v1alpha1
kind: FunnelPolicy
metadata: {name: %s, namespace: demo}
spec:
  podSelector: {matchLabels: {app: nobody}}
  rules: {text: {egress: %q}}
`, name, rules)
}

const funnelAction = `funnel: {protocol: TCP, sourcePorts: "540", destinationPort: 80}`

// expectNotAccepted checks what kubectl apply says to policies that the schema refuses.
func (c *cluster) expectNotAccepted() {
	GinkgoHelper()
	for rule, message := range map[string]string{
		`{match: {protocol: UDP}}`:                                                                  "exactly one of accept, drop, funnel and unfunnel",
		`{match: {protocol: UDP}, accept: {}, drop: {}}`:                                            "exactly one of accept, drop, funnel and unfunnel",
		`{match: {protocol: SCTP}, drop: {}}`:                                                       `supported values: "TCP", "UDP"`,
		`{match: {protocol: UDP, destination: {}}, ` + funnelAction + `}`:                           "exactly one of cidrs and service",
		`{match: {protocol: UDP, destinationPorts: {values: ["http"]}}, ` + funnelAction + `}`:      "destinationPorts.values[0]",
		`{match: {protocol: UDP}, funnel: {protocol: TCP, sourcePorts: "540", destinationPort: 0}}`: "destinationPort",
	} {
		_, err := c.tryKubectl(onePolicy("refused", rule), "apply", "-f", "-")
		Expect(err).To(MatchError(ContainSubstring(message)), rule)
	}
}

// expectNamed checks that what only the controller can know is named by a condition,
// and that the condition goes when the fault does.
func (c *cluster) expectNamed() {
	GinkgoHelper()
	c.apply(textPolicy("fault", "udp dport 2055 funnel tcp dport 80 sport 540\ntcp dport http drop"))
	Eventually(c.condition("fault", "Accepted")).Should(Equal("False/Invalid"))
	Expect(c.message("fault", "Accepted")).To(And(ContainSubstring("text.egress"), ContainSubstring(`"http"`)))

	c.apply(onePolicy("fault", `{match: {protocol: UDP, destination: {service: {name: later}}}, `+funnelAction+`}`))
	Eventually(c.condition("fault", "Accepted")).Should(Equal("True/Accepted"))
	Eventually(c.condition("fault", "ResolvedRefs")).Should(Equal("False/ServiceNotFound"))
	Eventually(c.condition("fault", "Ready")).Should(Equal("False/ServiceNotFound"))

	c.kubectl("-n", c.namespace, "create", "service", "clusterip", "later", "--tcp=80")
	Eventually(c.condition("fault", "Ready")).Should(Equal("True/Ready"))
	Expect(c.rules("fault")).To(ContainSubstring(c.service("later").Spec.ClusterIP))
	c.kubectl("-n", c.namespace, "delete", "fp/fault", "service/later")
}

// victim is a policy for an interface that no pod has, and a pod that it selects.
const victim = `
apiVersion: sfunnel.io/v1alpha1
kind: FunnelPolicy
metadata: {name: victim, namespace: demo}
spec:
  podSelector: {matchLabels: {app: victim}}
  interfaces: [eth9]
  rules: {text: {egress: udp dport 2055 funnel tcp dport 80 sport 540}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: victim, namespace: demo}
spec:
  selector: {matchLabels: {app: victim}}
  template:
    metadata: {labels: {app: victim}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: echo, image: "localhost/echo:dev", args: [serve, -tcp, "8081"]}
`

// expectAttachFailed checks that a pod whose rules can't be attached does not start,
// and that the policy names it and says why.
func (c *cluster) expectAttachFailed() {
	GinkgoHelper()
	policy, workload, _ := strings.Cut(victim, "---\n")
	c.apply(policy)
	Eventually(c.condition("victim", "Ready")).Should(Equal("True/Ready"))
	c.apply(workload)
	Eventually(c.condition("victim", "Attached")).Should(Equal("False/AttachFailed"))
	Expect(c.message("victim", "Attached")).To(And(ContainSubstring("victim-"), ContainSubstring("eth9")))
	for _, p := range c.pods("victim") {
		Expect(p.Status.Phase).To(Equal(corev1.PodPending))
	}
	c.kubectl("-n", c.namespace, "delete", "--wait=false", "fp/victim", "deployment/victim")
}

// expectLastGoodRules checks that an edit that can't be carried out takes nothing
// away: neither from the ConfigMap nor from the pods.
func (c *cluster) expectLastGoodRules() {
	GinkgoHelper()
	before := c.rules("client")
	c.kubectl("-n", c.namespace, "patch", "fp", "client", "--type=merge", "-p", `{"spec": {"client": {"policyRef": {"name": "gone"}}}}`)
	Eventually(c.condition("client", "ResolvedRefs")).Should(Equal("False/PolicyNotFound"))
	Eventually(c.condition("client", "Programmed")).Should(Equal("False/StaleRules"))
	Expect(c.rules("client")).To(Equal(before))
	c.kubectl("apply", "-f", "test/e2e/testdata/site-clients.yaml")
	Eventually(c.condition("client", "Attached")).Should(Equal("True/Attached"))
	Expect(c.rules("client")).To(Equal(before))
}
