// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
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

// An image is a chain of digests: each blob must be what its descriptor says.
func TestDigestsLeadToTheBinary(t *testing.T) {
	files := untar(t, bytes.NewReader(mustWrite(t, "team/echo:v1")))
	var index struct{ Manifests []descriptor }
	mustDecode(t, files["index.json"], &index)
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	mustDecode(t, blobOf(t, files, index.Manifests[0]), &manifest)
	var config struct {
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
	if got := string(untar(t, bytes.NewReader(layer))["echo"]); got != "binary" {
		t.Errorf("the layer's file contains %q", got)
	}
	if config.Config.Entrypoint[0] != "/echo" || config.Config.User != "1:1" {
		t.Errorf("configuration is %+v", config.Config)
	}
}

func mustWrite(t *testing.T, name string) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := write(&out, name, "1:1", "echo", []byte("binary")); err != nil {
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
