// SPDX-License-Identifier: Apache-2.0

// Package e2e checks on a real Kubernetes, with real packets, what the operator
// promises: a client's flows to different ports of a Service reach one pod. It
// starts its clusters itself (hack/cluster), one after the other, and looks that
// nothing of them stays on the host. It needs root.
package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// Nothing here is measured against a clock: limits only end a run that hangs.
const (
	soon      = 5 * time.Minute
	pollEvery = 200 * time.Millisecond
)

func TestEndToEnd(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" || os.Getenv("FUNNEL_REQUIRE_ROOT") == "1" {
			t.Fatal("needs root: it makes namespaces")
		}
		t.Skip("needs root: it makes namespaces")
	}
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(soon)
	SetDefaultEventuallyPollingInterval(pollEvery)
	RunSpecs(t, "end to end")
}

// built is what the suite built: programs and images.
var built struct {
	release
	dir     string // NAME, NAME.tar and NAME.digest, as hack/images.sh writes them
	kubectl string
}

// image is the tarball of that name.
func image(name string) string { return filepath.Join(built.dir, name+".tar") }

var _ = BeforeSuite(func() {
	built.dir = GinkgoT().TempDir()
	hostBefore := filepath.Join(GinkgoT().TempDir(), "host")

	phase("build Kubernetes and what starts it")
	mustRun("go", "build", "-o", program("cluster"), "./hack/cluster")
	built.kubectl = filepath.Join(strings.TrimSpace(mustRun("hack/kube/build.sh")), "kubectl")

	before := mustRun(program("cluster"), "snapshot")
	Expect(os.WriteFile(hostBefore, []byte(before), 0o600)).To(Succeed())
	DeferCleanup(func() {
		phase("look whether the host is as it was")
		// Processes that were killed leave their namespaces a moment later.
		Eventually(func() string {
			found, _ := run(program("cluster"), "snapshot", "-since", hostBefore)
			return found
		}).WithTimeout(time.Minute).Should(BeEmpty(), "the host shows what it did not show before")
	})
})

// buildImages builds the suite's images, once for all clusters.
var buildImages = sync.OnceFunc(func() {
	GinkgoHelper()
	_, err := runWith([]string{"IMG=localhost/funnel-operator/manager:e2e", "ATTACHER_IMG=localhost/funnel-operator/attacher:e2e"},
		"", "hack/images.sh", built.dir, "test")
	Expect(err).NotTo(HaveOccurred())
	built.release = release{".", digestOf(built.dir, "manager"), digestOf(built.dir, "attacher")}
})

// stdout is where tables go, whether or not the specs pass.
var stdout = os.Stdout

var printing sync.Mutex

// report prints something that others, who run at the same time, must not interrupt.
func report(write func()) {
	printing.Lock()
	defer printing.Unlock()
	write()
}

var _ = ReportAfterSuite("times", func(Report) {
	phase("")
	fmt.Println("\ntimes of the phases:")
	for _, p := range phases {
		fmt.Printf("%8.1fs  %s\n", p.took.Seconds(), p.name)
	}
})

// program is the path of a program that the suite built.
func program(name string) string { return filepath.Join(built.dir, name) }

// digestOf names an image in a folder by its digest.
func digestOf(dir, name string) string {
	GinkgoHelper()
	content, err := os.ReadFile(filepath.Join(dir, name+".digest"))
	Expect(err).NotTo(HaveOccurred())
	return strings.TrimSpace(string(content))
}

// phases is what the suite did, and how long each took.
var phases []struct {
	name string
	took time.Duration
}

var phaseStart time.Time

// phase ends the phase that was going on and begins the next.
func phase(name string) {
	GinkgoHelper()
	now := time.Now()
	if len(phases) > 0 {
		phases[len(phases)-1].took += now.Sub(phaseStart)
	}
	phaseStart = now
	if name == "" {
		return
	}
	By(name)
	phases = append(phases, struct {
		name string
		took time.Duration
	}{name: name})
}
