// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"

	"github.com/sfunnel-io/funnel-operator/internal/manifest"
)

// fileFlags adds the flags that say what the input is, by kubectl's names.
func fileFlags(flags *pflag.FlagSet) (files *[]string, namespace *string) {
	return flags.StringArrayP("filename", "f", nil, ""), flags.StringP("namespace", "n", "default", "")
}

// faults are what the input says wrong; other errors are of how it is named.
type faults struct{ error }

// fail says why there is no output.
func (o outside) fail(err error) int {
	if !errors.As(err, &faults{}) {
		return o.wrong("%v", err)
	}
	fmt.Fprintln(o.stderr, err)
	return exitFound
}

// read parses the files, all of a folder's in the order of their names.
func (o outside) read(names []string) ([]*manifest.Stream, error) {
	if len(names) == 0 {
		return nil, errors.New("name the input by -f FILE, - for the standard input")
	}
	var streams []*manifest.Stream
	var absent, wrong []error
	for _, name := range names {
		files, err := expand(name)
		absent = append(absent, err)
		for _, file := range files {
			text, err := o.readFile(file)
			absent = append(absent, err)
			s, err := manifest.Parse(file, string(text))
			wrong = append(wrong, err)
			streams = append(streams, s)
		}
	}
	if err := errors.Join(absent...); err != nil {
		return nil, err
	}
	return streams, asFaults(errors.Join(wrong...))
}

func asFaults(err error) error {
	if err == nil {
		return nil
	}
	return faults{err}
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

func (o outside) readFile(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(o.stdin)
	}
	return os.ReadFile(file)
}

// world reads the files and what they say about a cluster. What can't be read is an
// error, so that pods are not injected without a policy.
func (o outside) world(names []string, namespace string) ([]*manifest.Stream, *manifest.World, error) {
	streams, err := o.read(names)
	if err != nil {
		return nil, nil, err
	}
	w := manifest.Read(streams, namespace)
	return streams, w, asFaults(w.Unreadable())
}
