// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// installVariable says how the operator is installed: as an overlay of config/overlays, by
// "helm", or, when it is not set, as "make deploy" does.
const installVariable = "E2E_INSTALL"

const operatorNamespace = "sfunnel-system"

// installOperator installs it and waits until it runs.
func (c *cluster) installOperator() {
	GinkgoHelper()
	how := os.Getenv(installVariable)
	if how == "helm" {
		c.installRelease()
	} else {
		c.apply(mustRun("hack/render.sh", append([]string{built.manager, built.attacher}, strings.Fields(how)...)...))
	}
	c.operatorRuns()
}

func (c *cluster) operatorRuns() {
	GinkgoHelper()
	c.kubectl("-n", operatorNamespace, "rollout", "status", "deployment/sfunnel-manager", "--timeout="+soon.String())
}

// installRelease installs the chart.
func (c *cluster) installRelease() {
	GinkgoHelper()
	helm := filepath.Join(strings.TrimSpace(mustRun("hack/helm/build.sh")), "helm")
	_, err := runWith([]string{"KUBECONFIG=" + c.kubeconfig}, "", helm, "install", "sfunnel", "charts/funnel-operator",
		"--namespace", operatorNamespace, "--create-namespace", "--wait=false",
		"--set", "images.manager="+built.manager, "--set", "images.attacher="+built.attacher)
	Expect(err).NotTo(HaveOccurred())
}

// injectsByItself reports whether the API server injects pods by itself: there is no
// webhook, and no manager is needed.
func injectsByItself() bool { return os.Getenv(installVariable) == "admission-policy" }

// perhapsWithoutManager does something with pods, without a manager where none is needed.
func (c *cluster) perhapsWithoutManager(do func()) {
	GinkgoHelper()
	if injectsByItself() {
		c.withoutManager(do)
	} else {
		do()
	}
}

// withoutManager does something while none runs.
func (c *cluster) withoutManager(do func()) {
	GinkgoHelper()
	before := len(c.managerPods())
	c.scaleManagers(0)
	Eventually(c.managerPods).Should(BeEmpty())
	do()
	Expect(c.managerPods()).To(BeEmpty())
	c.scaleManagers(before)
	c.operatorRuns()
}

func (c *cluster) scaleManagers(to int) {
	GinkgoHelper()
	c.kubectl("-n", operatorNamespace, "scale", "deployment/sfunnel-manager", fmt.Sprint("--replicas=", to))
}
