// SPDX-License-Identifier: Apache-2.0

// Command image packs one static Go binary as a container image: an OCI archive with
// a single layer, FROM scratch. The same binary gives the same bytes, so that the
// image has one digest wherever and whenever it is built. It prints that digest.
//
//	go run ./hack/image -name funnel-operator/attacher:dev -commit "$(git rev-parse HEAD)" -o attacher.tar bin/attacher
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
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	if *name == "" || *output == "" || flags.NArg() != 1 {
		fmt.Fprintln(stderr, "usage: image -name REPOSITORY:TAG [-user UID:GID] [-commit COMMIT] -o NAME.tar BINARY")
		return 2
	}
	digest, err := pack(*output, *name, *user, flags.Arg(0))
	if err == nil {
		err = describe(strings.TrimSuffix(*output, ".tar"), *name, digest, *commit, flags.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(stderr, "image:", err)
		return 1
	}
	fmt.Fprintln(stdout, digest)
	return 0
}

// pack writes the archive and returns the digest of the image's manifest.
func pack(output, name, user, binary string) (string, error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return "", err
	}
	file, err := os.Create(output)
	if err != nil {
		return "", err
	}
	digest, err := write(file, name, user, filepath.Base(binary), content)
	if err != nil {
		file.Close()
		return "", fmt.Errorf("%s: %w", output, err)
	}
	return digest, file.Close()
}

// describe writes what is known of the image into files that begin with that path.
func describe(path, name, digest, commit, binary string) error {
	built, err := buildinfo.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("what is in the image: %w", err)
	}
	bom, err := contents(built, name, digest)
	if err != nil {
		return err
	}
	statement, err := provenance(built, name, digest, commit)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(path+".cdx.json", bom, 0o644), os.WriteFile(path+".provenance.json", statement, 0o644))
}
