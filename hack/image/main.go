// SPDX-License-Identifier: Apache-2.0

// Command image packs one static Go binary for Linux as a container image: an OCI archive with
// a single layer, FROM scratch. The same binary gives the same bytes, so that the
// image has one digest wherever and whenever it is built. It prints that digest.
//
//	go run ./hack/image -name funnel-operator/attacher:dev -commit "$(git rev-parse HEAD)" -o attacher.tar bin/attacher
//
// Of a program that is built for several platforms it makes one image for all of them.
//
// Beside the archive it writes what is known of the image, under the same name:
// attacher.cdx.json lists what is in it (CycloneDX), attacher.provenance.json says from
// what and how it was built (in-toto statement, SLSA provenance). Nobody signs them
// here; they depend on commit and Go version only, as the image does.
//
// containerd imports the archive under the name given and under name@digest. A
// kubelet finds it there only if the name begins with a host, such as localhost.
package main

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run executes one command line and returns the exit status: 0 done, 1 failed, 2
// not understood.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(stderr)
	name := flags.String("name", "", "repository:tag of the image")
	user := flags.String("user", "65532:65532", "uid:gid that it runs as")
	commit := flags.String("commit", "", "what the binary was built from: a git commit, with -modified behind it when the checkout differs")
	output := flags.String("o", "", "file to write, NAME.tar")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *name == "" || *output == "" || flags.NArg() == 0 {
		fmt.Fprintln(stderr, "usage: image -name REPOSITORY:TAG [-user UID:GID] [-commit COMMIT] -o NAME.tar BINARY…")
		return 2
	}
	built, err := read(flags.Args())
	var digest string
	if err == nil {
		digest, err = pack(*output, *name, *user, built)
	}
	if err == nil {
		err = describe(strings.TrimSuffix(*output, ".tar"), *name, digest, *commit, built)
	}
	if err != nil {
		fmt.Fprintln(stderr, "image:", err)
		return 1
	}
	fmt.Fprintln(stdout, digest)
	return 0
}

// A build is a program for one platform, and what it was built from.
type build struct {
	program
	info *debug.BuildInfo
}

// read takes what is known of the binaries from them.
func read(binaries []string) ([]build, error) {
	var all []build
	for _, file := range binaries {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		info, err := buildinfo.Read(bytes.NewReader(content))
		if err != nil {
			return nil, fmt.Errorf("what is in %s: %w", file, err)
		}
		b := build{program{name: filepath.Base(file), content: content}, info}
		b.on = platform{Architecture: b.setting("GOARCH"), OS: b.setting("GOOS")}
		if b.on.OS != "linux" {
			return nil, fmt.Errorf("%s is for %s: an image is for nodes, which run linux", file, b.on.OS)
		}
		for _, other := range all {
			if other.on == b.on || other.info.Path != info.Path {
				return nil, fmt.Errorf("%s is %s for %s/%s: an image holds one program, once for each platform", file, info.Path, b.on.OS, b.on.Architecture)
			}
		}
		all = append(all, b)
	}
	return all, nil
}

func (b build) setting(key string) string {
	for _, s := range b.info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// pack writes the archive and returns the digest of the image.
func pack(output, name, user string, built []build) (string, error) {
	file, err := os.Create(output)
	if err != nil {
		return "", err
	}
	var programs []program
	for _, b := range built {
		programs = append(programs, b.program)
	}
	digest, err := write(file, name, user, programs)
	if err != nil {
		file.Close()
		return "", fmt.Errorf("%s: %w", output, err)
	}
	return digest, file.Close()
}

// describe writes what is known of the image into files that begin with that path.
func describe(path, name, digest, commit string, built []build) error {
	var infos []*debug.BuildInfo
	for _, b := range built {
		infos = append(infos, b.info)
	}
	bom, err := contents(infos, name, digest)
	if err != nil {
		return err
	}
	statement, err := provenance(infos, name, digest, commit)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(path+".cdx.json", bom, 0o644), os.WriteFile(path+".provenance.json", statement, 0o644))
}
