// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// root is the top of the checkout, where commands run.
const root = "../.."

// run runs a command and returns its standard output. What a failed one said is in
// the report of a test that fails.
func run(name string, args ...string) (string, error) {
	return runWith(nil, "", name, args...)
}

// runWith runs a command with additional environment and standard input.
func runWith(env []string, input, name string, args ...string) (string, error) {
	var output, failure bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Stdout, cmd.Stderr = &output, &failure
	err := cmd.Run()
	fmt.Fprintf(GinkgoWriter, "$ %s\n", cmd)
	if err != nil {
		fmt.Fprintf(GinkgoWriter, "%s%s", &output, &failure)
		err = fmt.Errorf("%s: %w\n%s", cmd, err, &failure)
	}
	return output.String(), err
}

func mustRun(name string, args ...string) string {
	GinkgoHelper()
	output, err := run(name, args...)
	Expect(err).NotTo(HaveOccurred())
	return output
}
