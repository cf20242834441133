// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
)

// attachGateway gives the router of the clients outside the rules that backend policies
// publish for it, by our attacher: it funnels what it forwards. Node ports are
// templates, filled as a gateway's administrator does.
func (c *cluster) attachGateway(more ...corev1.ConfigMap) {
	GinkgoHelper()
	var egress, ingress strings.Builder
	for policy, node := range map[string]map[int]string{"site": doors[2].address, "site-cluster": doors[3].address} {
		external := c.external(policy)
		Expect(external.Data).To(HaveKey("egress.nodeport.rules"))
		egress.WriteString(strings.NewReplacer("<NodeAddresses>", node[4], "<NodeAddresses6>", node[6]).Replace(external.Data["egress.nodeport.rules"]))
		more = append(more, external)
	}
	for _, external := range more {
		Expect(external.Data).To(And(HaveKey("egress.rules"), HaveKey("ingress.rules")))
		egress.WriteString(external.Data["egress.rules"])
		ingress.WriteString(external.Data["ingress.rules"])
	}
	dir := GinkgoT().TempDir()
	for file, text := range map[string]string{"egress.rules": egress.String(), "ingress.rules": ingress.String()} {
		Expect(os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600)).To(Succeed())
	}
	GinkgoWriter.Println(egress.String())
	c.in("gateway", "attacher", "attach", "--interface", "eth0", "--rules", dir)
}

// external are the rules that a backend policy publishes for gateways.
func (c *cluster) external(policy string) corev1.ConfigMap {
	GinkgoHelper()
	var published corev1.ConfigMap
	Eventually(func() error {
		return c.api.Get(GinkgoT().Context(), c.keyOf(policy+"-external"), &published)
	}).Should(Succeed())
	return published
}
