// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestArchiveHoldsEveryFileAfterItsFolder(t *testing.T) {
	tree := initramfs{"/init": []byte("x"), "/a/b/c": []byte("four"), "/a/b/d": nil}
	names, contents := mustList(t, tree.archive())
	want := []string{"a", "a/b", "bin", "dev", "var", "dev/console", "a/b/c", "a/b/d", "init", "TRAILER!!!"}
	if !reflect.DeepEqual(names, want) {
		t.Errorf("names are %q, want %q", names, want)
	}
	if contents["a/b/c"] != "four" || contents["init"] != "x" {
		t.Errorf("contents are %q", contents)
	}
}

// mustList reads a "newc" archive by its definition: offsets 54 and 94 of the
// header are the sizes of file and name.
func mustList(t *testing.T, archive []byte) (names []string, contents map[string]string) {
	t.Helper()
	contents = map[string]string{}
	for len(archive) > 0 {
		var size, nameSize int
		if !bytes.HasPrefix(archive, []byte("070701")) {
			t.Fatalf("no header after %q", names)
		}
		fmt.Sscanf(string(archive[54:62]), "%x", &size)
		fmt.Sscanf(string(archive[94:102]), "%x", &nameSize)
		body := (110 + nameSize + 3) &^ 3
		name := string(archive[110 : 110+nameSize-1])
		names = append(names, name)
		contents[name] = string(archive[body : body+size])
		archive = archive[(body+size+3)&^3:]
	}
	return names, contents
}

// sleep is linked with a C library, which comes along with the dynamic linker.
func TestCommandsComeWithTheirLibraries(t *testing.T) {
	tree := initramfs{}
	if err := tree.addCommands("/", []string{"sleep"}); err != nil {
		t.Fatal(err)
	}
	libraries, linkers := 0, 0
	for name := range tree {
		switch {
		case strings.HasPrefix(name, "/lib/libc.so"):
			libraries++
		case strings.Contains(name, "/ld-"):
			linkers++
		}
	}
	if tree["/bin/sleep"] == nil || libraries != 1 || linkers == 0 {
		t.Errorf("got %v", slices.Collect(maps.Keys(tree)))
	}
	if err := tree.addCommands("/", []string{"no such command"}); err == nil {
		t.Error("a command that is not there is no error")
	}
}
