// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/docs"
)

func TestDocsShowWhatIsPrinted(t *testing.T) {
	docs.Check(t, *update, "kubectl funnel", func(words []string) string {
		got := runWith("", words...)
		return got.stdout + got.stderr
	})
}
