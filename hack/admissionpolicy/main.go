// SPDX-License-Identifier: Apache-2.0

// Command admissionpolicy prints the injection as policies of the API server, for
// config/overlays/admission-policy ("make generate" runs it).
package main

import (
	"fmt"
	"os"

	"github.com/sfunnel-io/funnel-operator/internal/admissionpolicy"
)

func main() {
	manifests, err := admissionpolicy.Manifests()
	if err != nil {
		fmt.Fprintln(os.Stderr, "admissionpolicy:", err)
		os.Exit(1)
	}
	os.Stdout.Write(manifests)
}
