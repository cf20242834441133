// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

func readDocs(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// blocks returns the fenced blocks of a language.
func blocks(docs, language string) []string {
	var out []string
	fence := regexp.MustCompile("(?ms)^```" + language + "\n(.*?)^```$")
	for _, m := range fence.FindAllStringSubmatch(docs, -1) {
		out = append(out, m[1])
	}
	return out
}

// rows returns the cells of the two-column table below a heading.
func rows(docs, heading string) [][2]string {
	_, section, _ := strings.Cut(docs, "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var out [][2]string
	row := regexp.MustCompile("(?m)^\\| `(.*?)` \\| (.*) \\|$")
	for _, m := range row.FindAllStringSubmatch(section, -1) {
		out = append(out, [2]string{m[1], strings.Trim(m[2], "`")})
	}
	return out
}

func TestDocsRuleSetsWork(t *testing.T) {
	docs := readDocs(t)
	now := blocks(docs, "rules")
	if len(now) != 7 {
		t.Fatalf("found %d rule sets", len(now))
	}
	for _, text := range now[:2] {
		if ws := mustParse(t, text).Warnings(Egress); len(ws) > 0 {
			t.Errorf("the first examples deserve no warning: %v", ws)
		}
	}
	for _, text := range now {
		mustParse(t, text)
	}
	canonical := mustParse(t, now[6]).String()
	if want := blocks(docs, "canonical")[0]; canonical != want {
		t.Errorf("canonical form is %q, not %q", canonical, want)
	}
}

func TestDocsFaultsAreWhatParseSays(t *testing.T) {
	faults := rows(readDocs(t), "Faults")
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
	warnings := rows(readDocs(t), "Warnings")
	if len(warnings) != 5 {
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
