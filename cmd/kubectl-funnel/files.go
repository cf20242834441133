// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sfunnel-io/funnel-operator/internal/manifest"
)

// list is a flag that may be repeated.
type list []string

// String joins what was given.
func (l *list) String() string { return strings.Join(*l, " ") }

// Set adds one.
func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}

// read parses the files, all of a folder's in the order of their names.
func (o outside) read(names []string) ([]*manifest.Stream, error) {
	if len(names) == 0 {
		return nil, errors.New("name the input by -f FILE, - for the standard input")
	}
	var streams []*manifest.Stream
	var faults []error
	for _, name := range names {
		files, err := expand(name)
		faults = append(faults, err)
		for _, file := range files {
			s, err := o.readFile(file)
			faults = append(faults, err)
			streams = append(streams, s)
		}
	}
	return streams, errors.Join(faults...)
}

// expand lists the files of a folder.
func expand(name string) ([]string, error) {
	if info, err := os.Stat(name); name == "-" || err != nil || !info.IsDir() {
		return []string{name}, nil
	}
	entries, err := os.ReadDir(name)
	var files []string
	for _, e := range entries {
		if !e.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) {
			files = append(files, filepath.Join(name, e.Name()))
		}
	}
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s holds no .yaml, .yml or .json file", name)
	}
	return files, err
}

func (o outside) readFile(file string) (*manifest.Stream, error) {
	var text []byte
	var err error
	if file == "-" {
		text, err = io.ReadAll(o.stdin)
	} else {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, err
	}
	return manifest.Parse(file, string(text))
}

// world reads the files and what they say about a cluster. A policy that can't be
// read is an error, so that pods are not injected without it.
func (o outside) world(names []string, namespace string) ([]*manifest.Stream, *manifest.World, error) {
	streams, err := o.read(names)
	if err != nil {
		return nil, nil, err
	}
	w, err := manifest.Read(streams, namespace)
	if err == nil {
		err = w.Unreadable()
	}
	return streams, w, err
}
