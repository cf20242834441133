// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
)

// Media types and names of the OCI image specification, version 1.1.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"

	annotationTag  = "org.opencontainers.image.ref.name"
	annotationName = "io.containerd.image.name"
)

// A descriptor refers to a blob of the archive.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// An archive is an OCI image layout being written as a tar file, without times and
// owners, so that it depends on its content only.
type archive struct {
	*tar.Writer
}

// write writes the archive of an image that contains one file, /name of the binary,
// and runs it. It returns the digest of the manifest.
func write(w io.Writer, name, user, binary string, content []byte) (digest string, err error) {
	a := archive{tar.NewWriter(w)}
	layer, diffID, err := packLayer(binary, content)
	if err != nil {
		return "", err
	}
	if err := a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return "", err
	}
	layerBlob, err := a.blob(typeLayer, layer)
	if err != nil {
		return "", err
	}
	configBlob, err := a.json(typeConfig, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/" + binary}, "User": user},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{diffID}},
	})
	if err != nil {
		return "", err
	}
	manifest, err := a.json(typeManifest, map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest, "config": configBlob, "layers": []descriptor{layerBlob},
	})
	if err != nil {
		return "", err
	}
	index, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": typeIndex, "manifests": named(manifest, name),
	})
	if err != nil {
		return "", err
	}
	if err := a.file("index.json", index); err != nil {
		return "", err
	}
	return manifest.Digest, a.Close()
}

// named lists a manifest under its name with the tag and under its name with the
// digest, so that either finds it without asking a registry.
func named(manifest descriptor, name string) []descriptor {
	repository, tag := split(name)
	byTag, byDigest := manifest, manifest
	byTag.Annotations = map[string]string{annotationTag: tag, annotationName: repository + ":" + tag}
	byDigest.Annotations = map[string]string{annotationName: repository + "@" + manifest.Digest}
	return []descriptor{byTag, byDigest}
}

// split returns repository and tag of a name.
func split(name string) (repository, tag string) {
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[:colon], name[colon+1:]
	}
	return name, "latest"
}

// packLayer returns the compressed layer, and the digest that it has uncompressed.
func packLayer(name string, content []byte) (layer []byte, diffID string, err error) {
	var plain, compressed bytes.Buffer
	files := tar.NewWriter(&plain)
	header := &tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Format: tar.FormatUSTAR}
	if err := files.WriteHeader(header); err != nil {
		return nil, "", err
	}
	if _, err := files.Write(content); err != nil {
		return nil, "", err
	}
	if err := files.Close(); err != nil {
		return nil, "", err
	}
	zip := gzip.NewWriter(&compressed)
	if _, err := zip.Write(plain.Bytes()); err != nil {
		return nil, "", err
	}
	if err := zip.Close(); err != nil {
		return nil, "", err
	}
	return compressed.Bytes(), digestOf(plain.Bytes()), nil
}

func (a archive) file(name string, content []byte) error {
	header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Format: tar.FormatUSTAR}
	if err := a.WriteHeader(header); err != nil {
		return err
	}
	_, err := a.Write(content)
	return err
}

func (a archive) blob(mediaType string, content []byte) (descriptor, error) {
	digest := digestOf(content)
	err := a.file("blobs/"+strings.Replace(digest, ":", "/", 1), content)
	return descriptor{MediaType: mediaType, Digest: digest, Size: len(content)}, err
}

func (a archive) json(mediaType string, value any) (descriptor, error) {
	content, err := json.Marshal(value)
	if err != nil {
		return descriptor{}, err
	}
	return a.blob(mediaType, content)
}

func digestOf(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }
