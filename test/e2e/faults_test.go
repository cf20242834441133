// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// onePolicy is a policy "fault" with one egress rule, from the rule's fields in YAML's
// flow style. It selects no pod.
func onePolicy(rule string) string {
	return fmt.Sprintf(`
apiVersion: sfunnel.io/v1alpha1
kind: FunnelPolicy
metadata: {name: fault, namespace: %s}
spec:
  podSelector: {matchLabels: {app: nobody}}
  rules: {egress: [%s]}
`, namespace, rule)
}

// textPolicy is a policy "fault" whose egress rules are text.
func textPolicy(rules string) string {
	return fmt.Sprintf(`
apiVersion: sfunnel.io/v1alpha1
kind: FunnelPolicy
metadata: {name: fault, namespace: %s}
spec:
  podSelector: {matchLabels: {app: nobody}}
  rules: {text: {egress: %q}}
`, namespace, rules)
}

const funnelAction = `funnel: {protocol: TCP, sourcePorts: "540", destinationPort: 80}`

// expectRefused checks what kubectl apply says to policies that the schema refuses.
func expectRefused(c *cluster) {
	GinkgoHelper()
	for rule, message := range map[string]string{
		`{match: {protocol: UDP}}`:                                                                  "exactly one of accept, drop, funnel and unfunnel",
		`{match: {protocol: UDP}, accept: {}, drop: {}}`:                                            "exactly one of accept, drop, funnel and unfunnel",
		`{match: {protocol: SCTP}, drop: {}}`:                                                       `supported values: "TCP", "UDP"`,
		`{match: {protocol: UDP, destination: {}}, ` + funnelAction + `}`:                           "exactly one of cidrs and service",
		`{match: {protocol: UDP, destinationPorts: {values: ["http"]}}, ` + funnelAction + `}`:      "destinationPorts.values[0]",
		`{match: {protocol: UDP}, funnel: {protocol: TCP, sourcePorts: "540", destinationPort: 0}}`: "destinationPort",
	} {
		_, err := c.tryKubectl(onePolicy(rule), "apply", "-f", "-")
		Expect(err).To(MatchError(ContainSubstring(message)), rule)
	}
}

// expectNamed checks that what only the controller can know is named by a condition,
// and that the condition goes when the fault does.
func expectNamed(c *cluster) {
	GinkgoHelper()
	c.apply(textPolicy("udp dport 2055 funnel tcp dport 80 sport 540\ntcp dport http drop"))
	Eventually(c.condition("fault", "Accepted")).Should(Equal("False/Invalid"))
	Expect(c.message("fault", "Accepted")).To(And(ContainSubstring("text.egress"), ContainSubstring(`"http"`)))

	c.apply(onePolicy(`{match: {protocol: UDP, destination: {service: {name: later}}}, ` + funnelAction + `}`))
	Eventually(c.condition("fault", "Accepted")).Should(Equal("True/Accepted"))
	Eventually(c.condition("fault", "ResolvedRefs")).Should(Equal("False/ServiceNotFound"))
	Eventually(c.condition("fault", "Ready")).Should(Equal("False/ServiceNotFound"))

	c.kubectl("-n", namespace, "create", "service", "clusterip", "later", "--tcp=80")
	Eventually(c.condition("fault", "Ready")).Should(Equal("True/Ready"))
	address := c.kubectl("-n", namespace, "get", "service", "later", "-o", "jsonpath={.spec.clusterIP}")
	Expect(c.kubectl("-n", namespace, "get", "configmap", "fault-funnel", "-o", "jsonpath={.data.egress\\.rules}")).
		To(ContainSubstring(address))
	c.kubectl("-n", namespace, "delete", "fp/fault", "service/later")
}

// victim is a policy for an interface that no pod has, and a pod that it selects.
const victim = `
apiVersion: sfunnel.io/v1alpha1
kind: FunnelPolicy
metadata: {name: fault, namespace: ` + namespace + `}
spec:
  podSelector: {matchLabels: {app: victim}}
  interfaces: [eth9]
  rules: {text: {egress: udp dport 2055 funnel tcp dport 80 sport 540}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: victim, namespace: ` + namespace + `}
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
func expectAttachFailed(c *cluster) {
	GinkgoHelper()
	policy, workload, _ := strings.Cut(victim, "---\n")
	c.apply(policy)
	Eventually(c.condition("fault", "Ready")).Should(Equal("True/Ready"))
	c.apply(workload)
	Eventually(c.condition("fault", "Attached")).Should(Equal("False/AttachFailed"))
	Expect(c.message("fault", "Attached")).To(And(ContainSubstring("victim-"), ContainSubstring("eth9")))
	Expect(c.kubectl("-n", namespace, "get", "pods", "-l", "app=victim", "-o", "jsonpath={.items[*].status.phase}")).
		To(Equal("Pending"))
	c.kubectl("-n", namespace, "delete", "fp/fault", "deployment/victim")
}

// expectLastGoodRules checks that an edit that can't be carried out takes nothing
// away: neither from the ConfigMap nor from the pods.
func expectLastGoodRules(c *cluster) {
	GinkgoHelper()
	rules := func() string {
		return c.kubectl("-n", namespace, "get", "configmap", "client-funnel", "-o", "jsonpath={.data}")
	}
	before := rules()
	c.kubectl("-n", namespace, "patch", "fp", "client", "--type=json", "-p",
		`[{"op": "replace", "path": "/spec/rules/egress/0/match/destination/service/name", "value": "gone"}]`)
	Eventually(c.condition("client", "ResolvedRefs")).Should(Equal("False/ServiceNotFound"))
	Eventually(c.condition("client", "Programmed")).Should(Equal("False/StaleRules"))
	Expect(rules()).To(Equal(before))
	c.kubectl("apply", "-f", "hack/demo/policies.yaml")
	Eventually(c.condition("client", "Attached")).Should(Equal("True/Attached"))
	Expect(rules()).To(Equal(before))
}
