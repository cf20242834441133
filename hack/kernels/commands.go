// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"regexp"
)

// addCommands copies commands of this machine to /bin, and the shared libraries
// that they name to where they are here. It is for the few commands that tests
// start; what is under test is linked statically.
func (tree initramfs) addCommands(ctx context.Context, names []string) error {
	for _, name := range names {
		file, err := exec.LookPath(name)
		if err != nil {
			return err
		}
		if tree[path.Join("/bin", name)], err = os.ReadFile(file); err != nil {
			return err
		}
		listing, err := exec.CommandContext(ctx, "ldd", file).Output()
		if err != nil {
			return fmt.Errorf("ldd %s: %w", file, err)
		}
		for _, library := range libraries(string(listing)) {
			if tree[library], err = os.ReadFile(library); err != nil {
				return err
			}
		}
	}
	return nil
}

var libraryPath = regexp.MustCompile(`(?m)(/\S+) \(0x`)

// libraries returns the paths in what ldd prints.
func libraries(listing string) (paths []string) {
	for _, match := range libraryPath.FindAllStringSubmatch(listing, -1) {
		paths = append(paths, match[1])
	}
	return paths
}
