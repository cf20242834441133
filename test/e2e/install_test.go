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

// A release is a build of the operator: the checkout that its manifests are in, and its
// images, by digest.
type release struct{ checkout, manager, attacher string }

// installOperator installs what the suite built, and waits until it runs.
func (c *cluster) installOperator() {
	GinkgoHelper()
	c.install(built.release)
}

// install installs a release, over another one if there is one, and waits until it runs.
func (c *cluster) install(r release) {
	GinkgoHelper()
	how := os.Getenv(installVariable)
	if how == "helm" {
		c.installChart(r)
	} else {
		c.apply(mustRun(filepath.Join(r.checkout, "hack/render.sh"), append([]string{r.manager, r.attacher}, strings.Fields(how)...)...))
	}
	c.attachers = append(c.attachers, r.attacher)
	c.operatorRuns()
}

func (c *cluster) operatorRuns() {
	GinkgoHelper()
	c.kubectl("-n", operatorNamespace, "rollout", "status", "deployment/sfunnel-manager", "--timeout="+soon.String())
}

// installChart installs or upgrades a release by its chart.
func (c *cluster) installChart(r release) {
	GinkgoHelper()
	helm := filepath.Join(strings.TrimSpace(mustRun("hack/helm/build.sh")), "helm")
	_, err := runWith([]string{"KUBECONFIG=" + c.kubeconfig}, "", helm, "upgrade", "--install", "sfunnel", filepath.Join(r.checkout, "charts/funnel-operator"),
		"--namespace", operatorNamespace, "--create-namespace", "--wait=false",
		"--set", "images.manager="+r.manager, "--set", "images.attacher="+r.attacher)
	Expect(err).NotTo(HaveOccurred())
}

// undeploy removes the operator and returns what that says.
func (c *cluster) undeploy() string {
	GinkgoHelper()
	said, err := runWith([]string{"KUBECONFIG=" + c.kubeconfig, "PATH=" + filepath.Dir(built.kubectl) + ":" + os.Getenv("PATH")}, "", "hack/undeploy.sh")
	Expect(err).NotTo(HaveOccurred())
	return said
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
