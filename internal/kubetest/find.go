// SPDX-License-Identifier: Apache-2.0

package kubetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// AssetsVariable names the environment variable with the directory of the
// Kubernetes binaries.
const AssetsVariable = "KUBEBUILDER_ASSETS"

// Root returns the directory of the module that the working directory lies in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the working directory lies in no Go module")
		}
		dir = parent
	}
}

// Assets returns the directory of the Kubernetes binaries: that of
// KUBEBUILDER_ASSETS, or else the one that hack/kube/build.sh builds, which
// takes minutes the first time.
func Assets() (string, error) {
	if dir := os.Getenv(AssetsVariable); dir != "" {
		return dir, nil
	}
	root, err := Root()
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
