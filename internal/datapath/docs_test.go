// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/docs"
)

func TestReasonsAreDocumented(t *testing.T) {
	page, err := docs.Read("docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range Reasons() {
		dropped := ""
		if r.Drops() {
			dropped = "dropped"
		}
		if row := fmt.Sprintf("| `%s` | %s | %s |\n", r, r.Words(), dropped); !strings.Contains(page.Text, row) {
			t.Errorf("%s lacks the row %s", page.Path, row)
		}
	}
}
