// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// initramfs is a tree of regular files by absolute path, to be unpacked by the
// kernel as its root.
type initramfs map[string][]byte

// addTree copies the regular files below dir to target. A dir that does not
// exist adds nothing.
func (tree initramfs) addTree(target, dir string) error {
	return filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) && name == dir {
			return nil
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		tree[path.Join(target, strings.TrimPrefix(name, dir))] = content
		return nil
	})
}

// archive returns the tree in cpio's "newc" format, which the kernel documents
// in Documentation/driver-api/early-userspace/buffer-format.rst. Files may be
// executed by everyone, folders come before what they hold.
func (tree initramfs) archive() []byte {
	var out bytes.Buffer
	for _, dir := range tree.folders() {
		writeEntry(&out, dir, 0o040755, nil)
	}
	// The kernel opens the console before init can mount devtmpfs.
	writeNode(&out, "/dev/console", 0o020600, nil, 5, 1)
	for _, name := range sortedKeys(tree) {
		writeEntry(&out, name, 0o100755, tree[name])
	}
	writeEntry(&out, "TRAILER!!!", 0, nil)
	return out.Bytes()
}

func (tree initramfs) folders() []string {
	found := map[string]bool{"/dev": true, "/bin": true, "/var": true}
	for name := range tree {
		for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
			found[dir] = true
		}
	}
	return sortedKeys(found)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

func writeEntry(out *bytes.Buffer, name string, mode uint32, content []byte) {
	writeNode(out, name, mode, content, 0, 0)
}

// writeNode writes one header of 13 numbers in 8 hexadecimal digits, the name
// with a zero byte, and the content; the last two padded to 4 bytes.
func writeNode(out *bytes.Buffer, name string, mode uint32, content []byte, major, minor uint32) {
	name = strings.TrimPrefix(name, "/")
	links := uint32(1)
	out.WriteString("070701")
	for _, number := range []uint32{
		0, mode, 0, 0, links, 0, uint32(len(content)), 0, 0, major, minor, uint32(len(name) + 1), 0,
	} {
		fmt.Fprintf(out, "%08x", number)
	}
	out.WriteString(name + "\x00")
	pad(out)
	out.Write(content)
	pad(out)
}

func pad(out *bytes.Buffer) {
	for out.Len()%4 != 0 {
		out.WriteByte(0)
	}
}
