// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
)

// policyFor is a policy that selects the pods of an app, from the rest of its spec in
// YAML's flow style.
func policyFor(app, name, spec string) string {
	return fmt.Sprintf(`
apiVersion: sfunnel.io/v1alpha1
kind: FunnelPolicy
metadata: {name: %s, namespace: demo}
spec: {podSelector: {matchLabels: {app: %s}}, %s}
`, name, app, spec)
}

// onePolicy is a policy with one egress rule, from the rule's fields. It selects no pod.
func onePolicy(name, rule string) string {
	return policyFor("nobody", name, "rules: {egress: ["+rule+"]}")
}

// textPolicy is a policy whose egress rules are text. It selects no pod.
func textPolicy(name, rules string) string {
	return policyFor("nobody", name, fmt.Sprintf("rules: {text: {egress: %q}}", rules))
}

// server is a Deployment of one pod that listens, which has these labels besides.
func server(namespace, app, labels string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  selector: {matchLabels: {app: %[2]s}}
  template:
    metadata: {labels: {app: %[2]s, %[3]s}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: echo, image: "localhost/echo:dev", args: [serve, -tcp, "8081"]}]
`, namespace, app, labels)
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

// expectAttachFailed checks that a pod whose rules can't be attached does not start,
// and that the policy names it and says why.
func (c *cluster) expectAttachFailed() {
	GinkgoHelper()
	c.apply(policyFor("victim", "victim", "interfaces: [eth9], rules: {text: {egress: udp dport 2055 funnel tcp dport 80 sport 540}}"))
	Eventually(c.condition("victim", "Ready")).Should(Equal("True/Ready"))
	c.apply(server(c.namespace, "victim", ""))
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
