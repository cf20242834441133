// SPDX-License-Identifier: Apache-2.0

package kubetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sfunnel-io/funnel-operator/internal/checkout"
)

// assetsVariable names the environment variable with the directory of the
// Kubernetes binaries.
const assetsVariable = "KUBEBUILDER_ASSETS"

// Assets returns the directory of the Kubernetes binaries: that of
// KUBEBUILDER_ASSETS, or else the one that hack/kube/build.sh builds, which
// takes minutes the first time.
func Assets() (string, error) {
	if dir := os.Getenv(assetsVariable); dir != "" {
		return dir, nil
	}
	root, err := checkout.Root()
	if err != nil {
		return "", err
	}
	build := exec.Command(filepath.Join(root, "hack", "kube", "build.sh"))
	build.Stderr = os.Stderr
	out, err := build.Output()
	if err != nil {
		return "", fmt.Errorf("build the Kubernetes binaries: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
