// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/sfunnel-io/funnel-operator/internal/docs"
)

func readDocs(t *testing.T) docs.Page {
	t.Helper()
	page, err := docs.Read("docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// rows returns the cells of the two-column table below a heading.
func rows(text, heading string) [][2]string {
	_, section, _ := strings.Cut(text, "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var out [][2]string
	row := regexp.MustCompile("(?m)^\\| `(.*?)` \\| (.*) \\|$")
	for _, m := range row.FindAllStringSubmatch(section, -1) {
		out = append(out, [2]string{m[1], strings.Trim(m[2], "`")})
	}
	return out
}

func TestDocsRuleSetsParse(t *testing.T) {
	pages, err := docs.Pages()
	if err != nil {
		t.Fatal(err)
	}
	sets := 0
	for _, page := range pages {
		for _, block := range page.Blocks("rules") {
			sets++
			if _, err := Parse(block.Text); err != nil {
				t.Errorf("%s: %v", page.Place(block.Line), err)
			}
		}
	}
	if sets < 13 {
		t.Errorf("found %d rule sets", sets)
	}
}

func TestDocsExamples(t *testing.T) {
	page := readDocs(t)
	sets := page.Blocks("rules")
	for _, block := range sets[:2] {
		if ws := mustParse(t, block.Text).Warnings(Egress); len(ws) > 0 {
			t.Errorf("the first examples deserve no warning: %v", ws)
		}
	}
	canonical := mustParse(t, sets[6].Text).String()
	if want := page.Blocks("canonical")[0].Text; canonical != want {
		t.Errorf("canonical form is %q, not %q", canonical, want)
	}
}

func TestDocsFaultsAreWhatParseSays(t *testing.T) {
	faults := rows(readDocs(t).Text, "Faults")
	if len(faults) != 17 {
		t.Fatalf("found %d faults", len(faults))
	}
	for _, row := range faults {
		if _, err := Parse(row[0]); err == nil || err.Error() != row[1] {
			t.Errorf("%q: %v\nnot %s", row[0], err, row[1])
		}
	}
}

func TestDocsWarningsAreWhatRuleSetsSay(t *testing.T) {
	warnings := rows(readDocs(t).Text, "Warnings")
	if len(warnings) != 6 {
		t.Fatalf("found %d warnings", len(warnings))
	}
	for _, row := range warnings {
		var got []string
		for _, w := range mustParse(t, row[0]).Warnings(Egress) {
			got = append(got, fmt.Sprintf("rule %d: %s", w.Rule+1, w.Message))
		}
		if len(got) != 1 || got[0] != row[1] {
			t.Errorf("%q: %q\nnot %q", row[0], got, row[1])
		}
	}
}
