// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/docs"
	"github.com/sfunnel-io/funnel-operator/internal/golden"
)

func TestDocsShowWhatIsPrinted(t *testing.T) {
	docs.Check(t, golden.Updating(), "kubectl funnel", func(words []string) string {
		got := runWith("", words...)
		return got.stdout + got.stderr
	})
}
