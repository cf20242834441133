// SPDX-License-Identifier: Apache-2.0

// Package docs reads the documentation for the tests that hold it to what the
// programs do: which blocks a page shows, which files these stand for, and what
// a command is said to print.
package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/sfunnel-io/funnel-operator/internal/checkout"
)

// Page is a page of the documentation.
type Page struct {
	// Path is relative to the module's root, Text all of it.
	Path, Text string
}

// Block is a fenced block of a page.
type Block struct {
	// Language stands behind the opening fence, empty when nothing does.
	Language string
	// Line is that of the first line of Text, from 1.
	Line int
	// Text ends with a line break.
	Text string
}

// Pages returns the pages at the module's root and below docs, by path. The root
// is that of the module that the working directory lies in.
func Pages() ([]Page, error) {
	root, err := checkout.Root()
	if err != nil {
		return nil, err
	}
	var pages []Page
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			path, err := filepath.Rel(root, file)
			if err != nil {
				return nil, err
			}
			pages = append(pages, Page{path, string(text)})
		}
	}
	return pages, nil
}

// Read returns the page of that path below the module's root.
func Read(path string) (Page, error) {
	pages, err := Pages()
	if err != nil {
		return Page{}, err
	}
	for _, p := range pages {
		if p.Path == path {
			return p, nil
		}
	}
	return Page{}, fmt.Errorf("the documentation has no page %s", path)
}

// Blocks returns the page's blocks of a language, in their order.
func (p Page) Blocks(language string) []Block {
	var found []Block
	for _, b := range p.blocks() {
		if b.Language == language {
			found = append(found, b)
		}
	}
	return found
}

func (p Page) blocks() []Block {
	var all []Block
	var open *Block
	for i, line := range strings.SplitAfter(p.Text, "\n") {
		word, fence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch {
		case !fence && open != nil:
			open.Text += line
		case fence && open == nil:
			open = &Block{Language: word, Line: i + 2}
		case fence:
			all = append(all, *open)
			open = nil
		}
	}
	return all
}

// name is a comment that names the file which a block stands for.
var name = regexp.MustCompile(`^# ([a-z-]+\.(?:yaml|rules))\n`)

// Name is the file that the block stands for, which its first line names in a
// comment ("# site.yaml"); empty when it does not.
func (b Block) Name() string {
	if found := name.FindStringSubmatch(b.Text); found != nil {
		return found[1]
	}
	return ""
}

// Place is where the block stands, for messages.
func (p Page) Place(line int) string { return fmt.Sprintf("%s:%d", p.Path, line) }

// save writes the blocks that stand for files into a folder.
func (p Page) save(folder string) error {
	for _, b := range p.blocks() {
		if b.Name() == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(folder, b.Name()), []byte(b.Text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
