// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sfunnel-io/funnel-operator/api/v1alpha1"
	"github.com/sfunnel-io/funnel-operator/internal/checkout"
)

// buildCommitBefore builds the operator of the commit before this one, of this one where
// the clone has no other, and returns the files with its images.
func buildCommitBefore() (before release, images []string) {
	GinkgoHelper()
	before.checkout = GinkgoT().TempDir()
	_, err := checkout.Previous(before.checkout)
	Expect(err).NotTo(HaveOccurred())
	dir := GinkgoT().TempDir()
	_, err = runWith([]string{
		"IMG=localhost/funnel-operator/manager:before", "ATTACHER_IMG=localhost/funnel-operator/attacher:before", "VERSION=before",
	}, "", filepath.Join(before.checkout, "hack/images.sh"), dir)
	Expect(err).NotTo(HaveOccurred())
	before.manager, before.attacher = digestOf(dir, "manager"), digestOf(dir, "attacher")
	return before, []string{filepath.Join(dir, "manager.tar"), filepath.Join(dir, "attacher.tar")}
}

// life is what tells whether a pod, or a container of it, was started again.
type life struct {
	uid      types.UID
	restarts int32
}

// lives are those of all pods of the workloads.
func (c *cluster) lives() map[string]life {
	GinkgoHelper()
	var list corev1.PodList
	Expect(c.api.List(GinkgoT().Context(), &list, client.InNamespace(c.namespace))).To(Succeed())
	lives := map[string]life{}
	for _, p := range list.Items {
		l := life{uid: p.UID}
		for _, status := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
			l.restarts += status.RestartCount
		}
		lives[p.Name] = l
	}
	return lives
}

// forgotten waits until nothing of the operator is left but rules that pods mount, of
// which it was said how to delete them, and until a new pod starts without rules.
func (c *cluster) forgotten(said string) {
	GinkgoHelper()
	Eventually(func() string {
		return c.kubectl("get", "namespaces,deployments,customresourcedefinitions,clusterroles,clusterrolebindings,mutatingwebhookconfigurations,mutatingadmissionpolicies,validatingadmissionpolicies",
			"--all-namespaces", "--selector=app.kubernetes.io/part-of=sfunnel", "--output=name")
	}).Should(BeEmpty())
	Eventually(c.tryPod).Should(MatchError(ContainSubstring("not injected: []")))

	var rules corev1.ConfigMapList
	Expect(c.api.List(GinkgoT().Context(), &rules, client.HasLabels{v1alpha1.LabelPolicy})).To(Succeed())
	var left []string
	for _, r := range rules.Items {
		left = append(left, fmt.Sprintf("kubectl delete configmap --namespace=%s %s", r.Namespace, r.Name))
	}
	var named []string
	for line := range strings.Lines(said) {
		if command := strings.TrimSpace(line); strings.HasPrefix(command, "kubectl delete configmap") {
			named = append(named, command)
		}
	}
	Expect(left).NotTo(BeEmpty())
	Expect(named).To(ConsistOf(left))
	for _, app := range siteApps {
		Expect(left).To(ContainElement(HaveSuffix(" " + v1alpha1.ConfigMapName(app))))
	}
}
