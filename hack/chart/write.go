// SPDX-License-Identifier: Apache-2.0

package main

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

//go:embed static
var static embed.FS

// addStatic adds the files of static/. In values.yaml, a line "NAME:" with nothing
// behind it is completed with the value.
func addStatic(files map[string][]byte, values map[string]any) error {
	return fs.WalkDir(static, "static", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := static.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, "static/")
		if name == "values.yaml" {
			content, err = complete(string(content), values)
		}
		files[name] = content
		return err
	})
}

func complete(text string, values map[string]any) ([]byte, error) {
	for name, value := range values {
		written, err := yaml.Marshal(map[string]any{name: value})
		if err != nil {
			return nil, err
		}
		line := "\n" + name + ":\n"
		if strings.Count(text, line) != 1 {
			return nil, fmt.Errorf("static/values.yaml: want one line %q", name+":")
		}
		text = strings.Replace(text, line, "\n"+string(written), 1)
	}
	return []byte(text), nil
}

// write makes the folder hold these files and no others.
func write(folder string, files map[string][]byte) error {
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	for name, content := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
