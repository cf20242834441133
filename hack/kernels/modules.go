// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// module is one kernel module, uncompressed.
type module struct {
	name  string
	image []byte
}

// moduleTree finds modules by name below one lib/modules/RELEASE. Packages come
// without modules.dep, which depmod writes at installation, so dependencies are
// read from the modules themselves.
type moduleTree struct {
	files   map[string]string // name to path
	builtin map[string]bool
}

func openModules(dir string) (*moduleTree, error) {
	tree := &moduleTree{files: map[string]string{}, builtin: map[string]bool{}}
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && strings.Contains(entry.Name(), ".ko") {
			tree.files[moduleName(name)] = name
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	list, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Fields(string(list)) {
		tree.builtin[moduleName(line)] = true
	}
	return tree, nil
}

// moduleName is the name by which other modules depend on this file: the base
// name up to ".ko", with underscores for hyphens.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// closure returns the wanted modules and all that they depend on, dependencies
// first, and the names that this kernel lacks. What is built in is not listed.
func (tree *moduleTree) closure(wanted []string) (loaded []module, missing []string, err error) {
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		if seen[name] || tree.builtin[name] {
			return nil
		}
		seen[name] = true
		file, found := tree.files[name]
		if !found {
			missing = append(missing, name)
			return nil
		}
		image, err := readModule(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		needs, err := depends(image)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for _, need := range needs {
			if err := visit(need); err != nil {
				return err
			}
		}
		loaded = append(loaded, module{name, image})
		return nil
	}
	for _, name := range wanted {
		if err := visit(name); err != nil {
			return nil, nil, err
		}
	}
	return loaded, missing, nil
}

func readModule(file string) ([]byte, error) {
	if strings.HasSuffix(file, ".xz") {
		return exec.Command("xz", "-dc", file).Output()
	}
	return os.ReadFile(file)
}

// depends reads the module's "depends=" entry: names with underscores, separated
// by commas, in the zero-terminated strings of its .modinfo section.
func depends(image []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for _, entry := range strings.Split(string(info), "\x00") {
		if list, found := strings.CutPrefix(entry, "depends="); found && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}
