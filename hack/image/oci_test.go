// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestSameBinaryGivesSameBytes(t *testing.T) {
	first, second := mustWrite(t, "team/echo:v1"), mustWrite(t, "team/echo:v1")
	if !bytes.Equal(first, second) {
		t.Error("two archives of the same binary differ")
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string][]string{
		"team/echo:v1":          {"team/echo:v1", "team/echo@DIGEST"},
		"localhost/echo":        {"localhost/echo:latest", "localhost/echo@DIGEST"},
		"host.example:5000/e:x": {"host.example:5000/e:x", "host.example:5000/e@DIGEST"},
	} {
		files := untar(t, bytes.NewReader(mustWrite(t, name)))
		var index struct{ Manifests []descriptor }
		mustDecode(t, files["index.json"], &index)
		for i, m := range index.Manifests {
			if got := strings.Replace(m.Annotations[annotationName], m.Digest, "DIGEST", 1); got != want[i] {
				t.Errorf("%s: name %d is %q, want %q", name, i, got, want[i])
			}
		}
	}
}

var (
	onAMD64 = program{"echo", platform{"amd64", "linux"}, []byte("binary")}
	onARM64 = program{"echo", platform{"arm64", "linux"}, []byte("another binary")}
)

// An image is a chain of digests: each blob must be what its descriptor says.
func TestDigestsLeadToTheBinary(t *testing.T) {
	files := untar(t, bytes.NewReader(mustWrite(t, "team/echo:v1")))
	var index struct{ Manifests []descriptor }
	mustDecode(t, files["index.json"], &index)
	checkImage(t, files, index.Manifests[0], onAMD64)
}

// An image for several platforms is an index, by which each finds its own.
func TestOneImageForSeveralPlatforms(t *testing.T) {
	files := untar(t, bytes.NewReader(mustWrite(t, "team/echo:v1", onAMD64, onARM64)))
	var index, platforms struct{ Manifests []descriptor }
	mustDecode(t, files["index.json"], &index)
	if got := index.Manifests[0].MediaType; got != typeIndex {
		t.Fatalf("the image is a %s", got)
	}
	mustDecode(t, blobOf(t, files, index.Manifests[0]), &platforms)
	for i, want := range []program{onAMD64, onARM64} {
		if got := platforms.Manifests[i].Platform; *got != want.on {
			t.Errorf("platform %d is %v", i, got)
		}
		checkImage(t, files, platforms.Manifests[i], want)
	}
}

// checkImage follows digests from a manifest to the program.
func checkImage(t *testing.T, files map[string][]byte, image descriptor, want program) {
	t.Helper()
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	mustDecode(t, blobOf(t, files, image), &manifest)
	var config struct {
		platform
		Config struct {
			Entrypoint []string
			User       string
		}
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	mustDecode(t, blobOf(t, files, manifest.Config), &config)
	unzip, err := gzip.NewReader(bytes.NewReader(blobOf(t, files, manifest.Layers[0])))
	if err != nil {
		t.Fatal(err)
	}
	layer, err := io.ReadAll(unzip)
	if err != nil {
		t.Fatal(err)
	}
	if got := digestOf(layer); got != config.RootFS.DiffIDs[0] {
		t.Errorf("layer is %s, configuration says %s", got, config.RootFS.DiffIDs[0])
	}
	if got := untar(t, bytes.NewReader(layer))[want.name]; !bytes.Equal(got, want.content) {
		t.Errorf("the layer's file contains %q", got)
	}
	if config.Config.Entrypoint[0] != "/"+want.name || config.Config.User != "1:1" || config.platform != want.on {
		t.Errorf("configuration is %+v", config)
	}
}

func TestOneProgramOncePerPlatform(t *testing.T) {
	if _, err := read([]string{os.Args[0]}); err != nil {
		t.Fatal(err)
	}
	_, err := read([]string{os.Args[0], os.Args[0]})
	if err == nil || !strings.Contains(err.Error(), runtime.GOOS+"/"+runtime.GOARCH) {
		t.Errorf("the same twice: %v", err)
	}
}

func TestAnImageIsForLinux(t *testing.T) {
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "echo")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", binary, source)
	build.Env = append(os.Environ(), "GOOS=darwin", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := read([]string{binary}); err == nil || !strings.Contains(err.Error(), "is for darwin") {
		t.Errorf("got %v", err)
	}
}

// mustWrite packs a program, for one platform if not said otherwise.
func mustWrite(t *testing.T, name string, builds ...program) []byte {
	t.Helper()
	if len(builds) == 0 {
		builds = []program{onAMD64}
	}
	var out bytes.Buffer
	if _, err := write(&out, name, "1:1", builds); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func untar(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

func blobOf(t *testing.T, files map[string][]byte, d descriptor) []byte {
	t.Helper()
	content := files["blobs/"+strings.Replace(d.Digest, ":", "/", 1)]
	if digestOf(content) != d.Digest || len(content) != d.Size {
		t.Fatalf("blob %s is not in the archive as described", d.Digest)
	}
	return content
}

func mustDecode(t *testing.T, content []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(content, into); err != nil {
		t.Fatal(err)
	}
}
