// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// addCommands copies commands of the tree below root to /bin, and the shared libraries
// that they name to /lib, where the dynamic linker looks for them. It is for the few
// commands that tests start; what is under test is linked statically.
func (tree initramfs) addCommands(root string, names []string) error {
	for _, name := range names {
		content, err := readFirst(root, name, "bin", "sbin", "usr/bin", "usr/sbin")
		if err != nil {
			return err
		}
		tree[path.Join("/bin", name)] = content
		if err := tree.addLibraries(root, content); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// addLibraries adds what an ELF file is linked with, and what that is.
func (tree initramfs) addLibraries(root string, content []byte) error {
	file, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return err
	}
	if interpreter := interpreter(file); interpreter != "" {
		if tree[interpreter], err = os.ReadFile(filepath.Join(root, interpreter)); err != nil {
			return err
		}
	}
	libraries, err := file.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, name := range libraries {
		target := path.Join("/lib", name)
		if tree[target] != nil {
			continue
		}
		if tree[target], err = readFirst(root, name, "lib/*-linux-gnu", "usr/lib/*-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib"); err != nil {
			return err
		}
		if err := tree.addLibraries(root, tree[target]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// interpreter is the path of the dynamic linker that the file asks for.
func interpreter(file *elf.File) string {
	for _, program := range file.Progs {
		if program.Type == elf.PT_INTERP {
			text, _ := io.ReadAll(program.Open())
			return strings.TrimRight(string(text), "\x00")
		}
	}
	return ""
}

// readFirst reads the file of that name in the first of the folders, which may be
// patterns, that has it.
func readFirst(root, name string, folders ...string) ([]byte, error) {
	for _, folder := range folders {
		found, err := filepath.Glob(filepath.Join(root, folder, name))
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			return os.ReadFile(found[0])
		}
	}
	return nil, fmt.Errorf("%s has no %s", root, name)
}
