// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sfunnel-io/funnel-operator/internal/checkout"
)

// page has a block of each kind.
const page = "# A page\n\n```yaml\n# site.yaml\na: 1\n```\n\n```console\n$ program -f site.yaml\nline\n$ other\n```\n```\nplain\n```\n"

func TestBlocksAndCommands(t *testing.T) {
	p := Page{"docs/x.md", page}
	if diff := cmp.Diff([]Block{{"", 14, "plain\n"}}, p.Blocks("")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Command{{9, "program -f site.yaml", "line\n"}}, p.commandsFrom("program")); diff != "" {
		t.Error(diff)
	}
	folder := t.TempDir()
	if err := p.save(folder); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "site.yaml"))
	if string(text) != "# site.yaml\na: 1\n" {
		t.Errorf("%q, %v", text, err)
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestLinksLeadSomewhere: to files that exist and to headings that they have.
func TestLinksLeadSomewhere(t *testing.T) {
	pages, err := Pages()
	if err != nil || len(pages) < 15 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	root, _ := checkout.Root()
	for _, p := range pages {
		for _, found := range link.FindAllStringSubmatch(p.Text, -1) {
			path, heading, _ := strings.Cut(found[1], "#")
			if strings.Contains(found[1], "://") {
				continue
			}
			target := p.Path
			if path != "" {
				target = filepath.Join(filepath.Dir(p.Path), path)
			}
			text, err := os.ReadFile(filepath.Join(root, target))
			if info, missing := os.Stat(filepath.Join(root, target)); missing == nil && info.IsDir() && heading == "" {
				continue
			}
			if err != nil || heading != "" && !hasHeading(string(text), heading) {
				t.Errorf("%s: the link to %s leads nowhere", p.Path, found[1])
			}
		}
	}
}

var marks = regexp.MustCompile("[^a-z0-9 _-]")

// hasHeading reports whether one of the headings has that anchor, as GitHub makes
// it.
func hasHeading(text, anchor string) bool {
	for line := range strings.Lines(text) {
		words := strings.TrimLeft(line, "#")
		made := marks.ReplaceAllString(strings.ToLower(strings.TrimSpace(words)), "")
		if words != line && strings.ReplaceAll(made, " ", "-") == anchor {
			return true
		}
	}
	return false
}

func TestTheReadmeNamesEveryPage(t *testing.T) {
	readme, err := Read("README.md")
	if err != nil {
		t.Fatal(err)
	}
	pages, _ := Pages()
	for _, p := range pages {
		below, own := strings.CutPrefix(p.Path, "docs/")
		if own && !strings.HasPrefix(below, "benchmarks/") && !strings.Contains(readme.Text, "("+p.Path+")") {
			t.Errorf("the README names no %s", p.Path)
		}
	}
}

// In a filter of tcpdump "and" and "or" bind alike, from left to right.
func TestFiltersMixNoOperators(t *testing.T) {
	pages, err := Pages()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, p := range pages {
		for _, filter := range filters.FindAllString(p.Text, -1) {
			found++
			if mixes(filter) {
				t.Errorf("%s: put parentheses between and and or of %s", p.Path, filter)
			}
		}
	}
	if found == 0 {
		t.Error("no page has a filter")
	}
}

var (
	// filters are quoted, and look at bytes.
	filters = regexp.MustCompile(`'[^'\n]*\b(tcp|ip6?)\[\d[^'\n]*'`)
	// group is the inside of the innermost parentheses.
	group = regexp.MustCompile(`\(([^()]*)\)`)
)

// mixes reports whether and and or stand side by side.
func mixes(filter string) bool {
	for {
		inside := group.FindStringSubmatch(filter)
		if inside == nil {
			return strings.Contains(filter, " and ") && strings.Contains(filter, " or ")
		}
		if mixes(inside[1]) {
			return true
		}
		filter = strings.Replace(filter, inside[0], "…", 1)
	}
}
