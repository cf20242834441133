// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sfunnel-io/funnel-operator/internal/checkout"
)

// Command is a command that a console block shows behind a dollar sign, and what
// it prints.
type Command struct {
	Line   int // from 1
	Text   string
	Output string
}

// Check runs each command of the documentation that begins with the prefix, given
// the words behind it, in a folder with the files that its page shows, and
// compares what it prints with what the page says. With update the page is
// written anew. It fails when it finds no command.
func Check(t *testing.T, update bool, prefix string, run func(words []string) string) {
	t.Helper()
	pages, err := Pages()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, p := range pages {
		for _, c := range p.commandsFrom(prefix) {
			found++
			t.Run(p.Place(c.Line), func(t *testing.T) { p.check(t, update, prefix, c, run) })
		}
	}
	if found == 0 {
		t.Errorf("no page shows %q", prefix)
	}
}

func (p Page) check(t *testing.T, update bool, prefix string, c Command, run func([]string) string) {
	t.Helper()
	root, err := checkout.Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := p.save("."); err != nil {
		t.Fatal(err)
	}
	got := run(strings.Fields(strings.TrimPrefix(c.Text, prefix)))
	if update {
		if err := p.show(root, c, got); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(c.Output, got); diff != "" {
		t.Errorf("what the page shows and what is printed (-update writes it):\n%s", diff)
	}
}

// show replaces what a command prints in the page's file.
func (p Page) show(root string, c Command, output string) error {
	file := filepath.Join(root, p.Path)
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	line := "$ " + c.Text + "\n"
	return os.WriteFile(file, []byte(strings.Replace(string(text), line+c.Output, line+output, 1)), 0o644)
}

// commandsFrom returns the commands of the page's console blocks that begin with the
// prefix.
func (p Page) commandsFrom(prefix string) []Command {
	var found []Command
	for _, b := range p.Blocks("console") {
		for _, c := range b.commands() {
			if strings.HasPrefix(c.Text, prefix+" ") {
				found = append(found, c)
			}
		}
	}
	return found
}

func (b Block) commands() []Command {
	var all []Command
	for i, line := range strings.SplitAfter(b.Text, "\n") {
		if command, is := strings.CutPrefix(line, "$ "); is {
			all = append(all, Command{Line: b.Line + i, Text: strings.TrimRight(command, "\n")})
		} else if len(all) > 0 {
			all[len(all)-1].Output += line
		}
	}
	return all
}
